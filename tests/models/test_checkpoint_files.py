"""Checkpoint files as training scripts write them: which tensors are the model's, and what is said if none are."""

import argparse
import pickle
from collections import OrderedDict
from copy import deepcopy
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from edgeprune.errors import WeightsError
from edgeprune.models import load_weights


class Net(nn.Module):
    """A convolution, a norm and a classifier."""

    def __init__(self, classes: int = 3, width: int = 4) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU())
        self.fc = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).mean((2, 3)))


@pytest.fixture
def net() -> Net:
    """A model that has been trained for a step, so that its norm's state is no longer as it began."""
    torch.manual_seed(0)
    made = Net()
    trained(made)
    return made


def trained(net: nn.Module) -> torch.optim.Optimizer:
    """Train for a step; returns the optimizer, which has a state then."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.randn(8, 3, 6, 6)).square().sum().backward()
    optimizer.step()
    return optimizer


def compiled(net: nn.Module) -> nn.Module:
    """Wrap a network as torch.compile does, without its slow backend."""
    wrapped: nn.Module = torch.compile(net, backend="eager")
    return wrapped


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def loads(path: Path, expected: nn.Module, *, key: str | None = None, into: nn.Module | None = None) -> None:
    """The file loads silently, and the model then has exactly the expected tensors."""
    model = Net() if into is None else into
    load_weights(model, path, key=key)
    for (name, tensor), other in zip(model.state_dict().items(), expected.state_dict().values(), strict=True):
        assert torch.equal(tensor, other), name


def refusal(path: Path, *, key: str | None = None, into: nn.Module | None = None) -> str:
    """The one line that refuses the file; the model stays as it was."""
    model = Net() if into is None else into
    before = deepcopy(model.state_dict())
    with pytest.raises(WeightsError) as caught:
        load_weights(model, path, key=key)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def averaged(net: nn.Module) -> AveragedModel:
    """An exponential moving average that differs from the network."""
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.5), use_buffers=True)
    other = deepcopy(net)
    trained(other)
    average.update_parameters(other)
    average.update_parameters(other)
    assert not torch.equal(average.module.fc.weight, net.fc.weight)
    return average


# --- one set of weights, whatever is around it ---------------------------------------------------------------


@pytest.mark.parametrize(
    "keys",
    [
        ("state_dict",), ("model",), ("net",), ("model_state_dict",), ("model_state",), ("network",), ("weights",),
        ("ema", "shadow"), ("checkpoint", "model", "state_dict"),
    ],
)  # fmt: skip
def test_dicts_around_the_weights(tmp_path: Path, net: Net, keys: tuple[str, ...]) -> None:
    optimizer = trained(deepcopy(net))
    content: Any = net.state_dict()
    for key in reversed(keys):
        content = {key: content, "epoch": 3, "optimizer": optimizer.state_dict(), "best_acc": 0.5}
    loads(saved(content, tmp_path / "w.pth"), net)


@pytest.mark.parametrize(
    "prefix",
    [
        "module.", "_orig_mod.", "model.", "module._orig_mod.", "_orig_mod.module.", "module.model.",
        "model._orig_mod.module.", "net.", "student.encoder.", "model.model.",
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_prefixes_of_any_depth(tmp_path: Path, net: Net, prefix: str, suffix: str) -> None:
    tensors = {prefix + name: tensor for name, tensor in net.state_dict().items()}
    path = tmp_path / f"w{suffix}"
    save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
    loads(path, net)


@pytest.mark.parametrize(
    "name", ["w.pth.tar", "w.ckpt", "w.bin", "w.th", "w.PTH", "w.tar", "pytorch_model.bin"]
)
def test_endings(tmp_path: Path, net: Net, name: str) -> None:
    loads(saved({"state_dict": net.state_dict()}, tmp_path / name), net)


def test_real_wrappers(tmp_path: Path, net: Net) -> None:
    for number, wrapped in enumerate((nn.DataParallel(net), compiled(net), compiled(nn.DataParallel(net)))):
        assert all(name not in net.state_dict() for name in wrapped.state_dict())
        loads(saved({"model": wrapped.state_dict()}, tmp_path / f"{number}.pt"), net)


def test_wrapped_parts_of_a_model(tmp_path: Path, net: Net) -> None:
    parallel = deepcopy(net)
    parallel.features = nn.DataParallel(net.features)  # as torchvision's and the ImageNet example's VGG
    parallel.fc = compiled(net.fc)
    assert "features.module.0.weight" in parallel.state_dict()
    assert "fc._orig_mod.weight" in parallel.state_dict()
    loads(saved(nn.DataParallel(parallel).state_dict(), tmp_path / "w.pt"), net)


def test_into_a_wrapped_model(tmp_path: Path, net: Net) -> None:
    path = saved(net.state_dict(), tmp_path / "w.pt")
    into = nn.DataParallel(compiled(Net()))
    loads(path, net, into=into)
    loads(saved(into.state_dict(), tmp_path / "w2.pt"), net, into=compiled(Net()))


class Named(nn.Module):
    """Its own parts have the names of wrappers."""

    def __init__(self) -> None:
        super().__init__()
        self.module, self.model = nn.Linear(2, 2), nn.Linear(2, 2)


def test_a_model_whose_parts_have_names_of_wrappers(tmp_path: Path) -> None:
    named = Named()
    loads(saved(named.state_dict(), tmp_path / "w.pt"), named, into=Named())
    loads(saved(nn.DataParallel(named).state_dict(), tmp_path / "w2.pt"), named, into=Named())


def test_weights_at_the_top_with_other_things_beside(tmp_path: Path, net: Net) -> None:
    beside = {
        "epoch": 3,
        "optimizer": trained(deepcopy(net)).state_dict(),
        "args": argparse.Namespace(lr=0.1),
    }
    loads(saved({**net.state_dict(), **beside}, tmp_path / "w.pt"), net)


def test_a_dict_for_each_part(tmp_path: Path, net: Net) -> None:
    parts = {"features": net.features.state_dict(), "fc": net.fc.state_dict()}
    loads(saved(parts, tmp_path / "w.pt"), net)


def test_lightning(tmp_path: Path, net: Net) -> None:
    class Lit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.loss = net, nn.CrossEntropyLoss(weight=torch.ones(3))
            self.metric = nn.ModuleDict({"acc": nn.BatchNorm1d(1)})

    content = {
        "epoch": 1, "global_step": 10, "pytorch-lightning_version": "2.5.0",
        "state_dict": Lit().state_dict(), "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [trained(deepcopy(net)).state_dict()], "lr_schedulers": [],
        "hparams_name": "kwargs", "hyper_parameters": {"lr": 0.1},
    }  # fmt: skip
    loads(saved(content, tmp_path / "epoch=1.ckpt"), net)


def test_an_average_alone(tmp_path: Path, net: Net) -> None:
    average = averaged(net)
    assert "n_averaged" in average.state_dict()
    loads(saved(average.state_dict(), tmp_path / "w.pt"), average.module)
    loads(saved({"ema": average.state_dict(), "step": 5}, tmp_path / "w2.pt"), average.module)


def test_what_scripts_put_beside_is_never_made(tmp_path: Path, net: Net) -> None:
    args = argparse.Namespace(lr=0.1, out=Path("x"), since=datetime(2020, 1, 1), classes=np.arange(3))
    content = {"model": net.state_dict(), "args": args, "best": np.float64(0.9), "top1": np.float32(0.5)}
    before = set(torch.serialization.get_safe_globals())
    loads(saved(content, tmp_path / "w.pth"), net)
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "w.pth", weights_only=True)


def test_two_copies_of_the_same_numbers_are_one_set(tmp_path: Path, net: Net) -> None:
    state = net.state_dict()
    loads(saved({"state_dict": state, "best": state, "ema": deepcopy(state)}, tmp_path / "w.pt"), net)


def test_a_teacher_of_other_widths_is_no_choice(tmp_path: Path, net: Net) -> None:
    tensors = {"teacher": Net(width=8).state_dict(), "student": net.state_dict()}
    loads(saved(tensors, tmp_path / "w.pt"), net)


def test_the_old_format_of_torch(tmp_path: Path, net: Net) -> None:
    path = tmp_path / "w.pth.tar"
    torch.save({"state_dict": net.state_dict(), "arch": "net"}, path, _use_new_zipfile_serialization=False)
    loads(path, net)


class Tied(nn.Module):
    """Two layers that share their weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)
        self.second.weight = self.first.weight


def test_a_shared_tensor_that_is_stored_once(tmp_path: Path) -> None:
    tied, into = Tied(), Tied()
    save_model(tied, str(tmp_path / "w.safetensors"))
    load_weights(into, tmp_path / "w.safetensors")
    assert into.second.weight is into.first.weight
    assert torch.equal(into.first.weight, tied.first.weight)


def test_layers_that_learn_their_width_from_the_weights(tmp_path: Path) -> None:
    lazy, plain = nn.Sequential(nn.LazyConv2d(4, 3)), nn.Sequential(nn.Conv2d(3, 4, 3))
    loads(saved({"model": plain.state_dict()}, tmp_path / "w.pt"), plain, into=lazy)


# --- several sets of weights ---------------------------------------------------------------------------------


def torchvision_like(net: Net, average: AveragedModel) -> dict[str, Any]:
    """As torchvision's reference training writes it."""
    optimizer = trained(deepcopy(net))
    return {
        "model": nn.DataParallel(net).state_dict(), "optimizer": optimizer.state_dict(), "epoch": 9,
        "lr_scheduler": {"last_epoch": 9}, "args": argparse.Namespace(lr=0.1), "model_ema": average.state_dict(),
    }  # fmt: skip


def test_weights_and_their_average(tmp_path: Path, net: Net) -> None:
    average = averaged(net)
    path = saved(torchvision_like(net, average), tmp_path / "w.pth")
    text = refusal(path)
    assert (
        "several sets of weights that fit and differ: say `weights_key=model` or `weights_key=model_ema`"
        in text
    )
    assert "it holds model (9 tensors), model_ema (10 tensors), optimizer.state (6 tensors)" in text
    loads(path, net, key="model")
    loads(path, net, key="model.module")
    loads(path, net, key="model.")
    loads(path, average.module, key="model_ema")
    loads(path, average.module, key="model_ema.module")


def test_timm(tmp_path: Path, net: Net) -> None:
    ema = averaged(net).module
    path = saved({"state_dict": net.state_dict(), "state_dict_ema": ema.state_dict()}, tmp_path / "w.pth.tar")
    assert "`weights_key=state_dict` or `weights_key=state_dict_ema`" in refusal(path)
    loads(path, ema, key="state_dict_ema")


def test_lightning_with_an_average(tmp_path: Path, net: Net) -> None:
    average = averaged(net)
    tensors = {f"model.{name}": t for name, t in net.state_dict().items()}
    tensors |= {f"ema_model.{name}": t for name, t in average.state_dict().items()}
    path = saved({"state_dict": tensors, "pytorch-lightning_version": "2.5.0"}, tmp_path / "w.ckpt")
    text = refusal(path)
    assert "`weights_key=state_dict.model` or `weights_key=state_dict.ema_model`" in text
    assert (
        "it holds state_dict.model (9 tensors), state_dict.ema_model (9 tensors), state_dict (1 tensor)"
        in text
    )
    assert refusal(path, key="state_dict") == text
    loads(path, net, key="state_dict.model")
    loads(path, average.module, key="state_dict.ema_model")


def test_an_average_inside_of_the_weights(tmp_path: Path, net: Net) -> None:
    ema = averaged(net).module
    tensors = {**net.state_dict(), **{f"ema.{name}": t for name, t in ema.state_dict().items()}}
    path = saved(tensors, tmp_path / "w.pt")
    assert "`weights_key=.` or `weights_key=ema`" in refusal(path)
    loads(path, net, key=".")
    loads(path, ema, key="ema")


def test_the_file_itself_does_not_fit(tmp_path: Path) -> None:
    text = refusal(saved(Net(width=8).state_dict(), tmp_path / "w.pt"), key=".")
    assert "w.pt is of a model of other widths: features.0.weight is (8, 3, 3, 3), not (4, 3, 3, 3)" in text


def test_a_key_with_blanks_is_quoted(tmp_path: Path, net: Net) -> None:
    content = {"my net": net.state_dict(), "other": Net().state_dict()}
    path = saved(content, tmp_path / "w.pt")
    assert "`weights_key='my net'` or `weights_key=other`" in refusal(path)
    loads(path, net, key="my net")


def test_keys_that_pick_nothing(tmp_path: Path, net: Net) -> None:
    path = saved(torchvision_like(net, averaged(net)), tmp_path / "w.pth")
    for key in ("ema", "epoch", "args", "mode", "model.fc.weight.x", "module", ".."):
        text = refusal(path, key=key)
        assert f"has no tensors under '{key}'; it holds model (9 tensors), " in text
    text = refusal(path, key="optimizer")
    assert "(optimizer.state.0) is of another model: 8 names missing" in text
    assert "It holds model (9 tensors), model_ema (10 tensors), optimizer.state (6 tensors)" in text
    assert text.endswith("`weights_key` picks one")


# --- what does not fit ---------------------------------------------------------------------------------------


def test_another_number_of_classes(tmp_path: Path) -> None:
    content = {"state_dict": nn.DataParallel(Net(classes=10)).state_dict()}
    text = refusal(saved(content, tmp_path / "w.pth.tar"))
    assert "w.pth.tar (state_dict): the weights have 10 classes, the data has 3 " in text
    assert "(fc.weight is (10, 4), not (3, 4), fc.bias is (10,), not (3,))" in text
    assert "give data of 10 classes; or load all but fc in a factory of your own" in text


class TwoHeads(Net):
    """With an auxiliary classifier before the last one."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.aux = nn.Conv2d(4, classes, 1)


def test_another_number_of_classes_of_two_heads(tmp_path: Path) -> None:
    path = saved(TwoHeads(10).state_dict(), tmp_path / "w.pt")
    text = refusal(path, into=TwoHeads(3))
    assert "the weights have 10 classes, the data has 3 (" in text
    assert "load all but aux and fc in a factory" in text


def test_other_widths_are_not_called_classes(tmp_path: Path) -> None:
    text = refusal(saved(Net(width=8).state_dict(), tmp_path / "w.pt"))
    assert "is of a model of other widths: features.0.weight is (8, 3, 3, 3), not (4, 3, 3, 3)" in text
    model = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 2))
    path = saved(nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 2)).state_dict(), tmp_path / "w2.pt")
    assert "other widths: 0.weight is (5, 4), not (7, 4)" in refusal(path, into=model)


def test_another_model_in_a_dict(tmp_path: Path, net: Net) -> None:
    deeper = nn.ModuleDict({"features": nn.Sequential(*net.features, nn.Conv2d(4, 4, 3)), "fc": net.fc})
    path = saved({"model": deeper.state_dict(), "optimizer": trained(net).state_dict()}, tmp_path / "w.pt")
    text = refusal(path)
    assert "(model) is of another model: 2 names unexpected (features.3.weight, features.3.bias)" in text
    assert "is `model` right? It holds model (11 tensors), optimizer.state (6 tensors)" in text


def test_an_average_without_the_norms_state(tmp_path: Path, net: Net) -> None:
    shadow = {name: parameter.detach() for name, parameter in net.named_parameters()}
    text = refusal(saved({"shadow": shadow, "decay": 0.99}, tmp_path / "w.pt"))
    assert (
        "(shadow) is of another model: 2 names missing (features.1.running_mean, features.1.running_var)"
        in text
    )


def test_nothing_in_common(tmp_path: Path) -> None:
    content = {"state_dict": {"a.b": torch.zeros(1), "c": torch.zeros(2)}, "meta": {}}
    text = refusal(saved(content, tmp_path / "w.pt"))
    assert "(state_dict) is of another model: 8 names missing" in text
    assert "2 names unexpected (a.b, c)" in text


def test_lists_without_names(tmp_path: Path, net: Net) -> None:
    shadow = [parameter.detach() for parameter in net.parameters()]
    text = refusal(saved({"decay": 0.99, "shadow_params": shadow}, tmp_path / "w.pt"))
    assert "holds no tensors by name (only decay, shadow_params): save model.state_dict()" in text


class Extra(nn.Linear):
    """A layer with state that is no tensor."""

    def get_extra_state(self) -> dict[str, int]:
        return {"calls": 1}

    def set_extra_state(self, state: dict[str, int]) -> None:
        raise AssertionError(state)


def test_state_that_is_no_tensor(tmp_path: Path) -> None:
    path = saved(Extra(2, 2).state_dict(), tmp_path / "w.pt")
    assert "the model keeps a dict in its state (_extra_state)" in refusal_of_extra(path)


def refusal_of_extra(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        load_weights(Extra(2, 2), path)
    return str(caught.value)


# --- files that are no plain data ----------------------------------------------------------------------------


def test_a_pickled_model_is_named_and_refused(tmp_path: Path, net: Net) -> None:
    text = refusal(saved({"ema": None, "model": net}, tmp_path / "yolo.pt"))
    assert "is refused: it is a pickle of more than tensors (" in text
    assert "Net), and reading it would run its code" in text
    assert "torch.save(model.state_dict(), 'weights.pt')" in text


def test_a_scripted_model_says_how_to_save_it(tmp_path: Path, net: Net) -> None:
    torch.jit.save(torch.jit.trace(net.eval(), torch.zeros(1, 3, 6, 6)), str(tmp_path / "w.pt"))
    assert "is a TorchScript archive: save its tensors alone" in refusal(tmp_path / "w.pt")


class Trap:
    """Would write a file if it were made from a pickle."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def test_names_that_are_passed_over_do_nothing(tmp_path: Path, net: Net) -> None:
    marked = [argparse.Namespace, np.dtype, type(tmp_path), datetime]
    for number, function in enumerate(marked):
        trap = Trap(function, Trap(Path.touch, tmp_path / "sprung"))
        path = saved({"model": net.state_dict(), "x": trap}, tmp_path / f"{number}.pt")
        assert "is refused: it is a pickle of more than tensors" in refusal(path)
    harmless = {
        "model": net.state_dict(),
        "x": Trap(type(tmp_path), {"a": [1, 2]}),
        "y": Trap(np.dtype, b"?" * 99),
    }
    loads(saved(harmless, tmp_path / "w.pt"), net)
    assert not (tmp_path / "sprung").exists()


def nested(depth: int) -> dict[str, Any]:
    content: dict[str, Any] = {"x": torch.zeros(1)}
    for _ in range(depth):
        content = {"a": content, "b": content}
    return content


def test_dicts_without_end(tmp_path: Path) -> None:
    loop: dict[str, Any] = {"w": torch.zeros(1)}
    loop["again"] = loop
    assert "nests more than 32 dicts" in refusal(saved(loop, tmp_path / "w.pt"))


def test_dicts_that_double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeprune.models.checkpoint_files.MAX_ENTRIES", 5000)
    assert "holds more than 5,000 entries" in refusal(saved(nested(30), tmp_path / "w.pt"))


def test_two_things_of_one_name(tmp_path: Path) -> None:
    content = {"a": {"b.c": torch.zeros(1)}, "a.b": {"c": torch.zeros(1)}}
    assert "holds two things named a.b.c" in refusal(saved(content, tmp_path / "w.pt"))


def test_names_cannot_steer_a_terminal(tmp_path: Path) -> None:
    bad = "\x1b[31m\nred"
    text = refusal(saved({bad: {"x.y": torch.zeros(1)}, "b": {bad: torch.zeros(1)}}, tmp_path / "w.pt"))
    assert "\x1b" not in text


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested")
def test_a_tensor_of_ragged_rows(tmp_path: Path) -> None:
    ragged = torch.nested.nested_tensor([torch.zeros(1), torch.zeros(2)])
    content = OrderedDict(Net().state_dict(), **{"fc.bias": ragged})
    assert "'fc.bias' is a Tensor" in refusal(saved(content, tmp_path / "w.pt"))
