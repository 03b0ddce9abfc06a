"""Networks of many kinds, pruned, saved and loaded: with their class, and without it where they can be data."""

import copy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from graph.checks import random_keep, randomise
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torchvision.ops import DeformConv2d

import edgeprune
from edgeprune.errors import EdgePruneError, ModelError
from edgeprune.graph.classes import build_graph
from edgeprune.graph.plan import Plan
from edgeprune.recording.values import tensors_of
from edgeprune.rewrite.compaction import compact
from edgeprune.saving.allowed import pure_layers

Inputs = tuple[Any, ...]


@dataclass(frozen=True)
class Kind:
    """A network, its inputs, and whether a file of it loads without its class."""

    make: Callable[[], nn.Module]
    inputs: Callable[[], Inputs]
    without_class: bool


KINDS: dict[str, Kind] = {}


def images() -> Inputs:
    return (torch.randn(2, 3, 8, 8),)


def kind(
    inputs: Callable[[], Inputs] = images, *, without_class: bool = True
) -> Callable[[type[nn.Module]], type[nn.Module]]:
    """Register a network."""

    def register(made: type[nn.Module]) -> type[nn.Module]:
        KINDS[made.__name__] = Kind(made, inputs, without_class)
        return made

    return register


class Trunk(nn.Module):
    """Two convolutions that can be pruned, before what a network is about: it is given 8 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.bn = nn.BatchNorm2d(12)
        self.body = nn.Conv2d(12, 8, 3, padding=1)

    def trunk(self, x: Tensor) -> Tensor:
        return F.relu(self.body(F.relu(self.bn(self.stem(x)))))


@kind()
class Plain(Trunk):
    def __init__(self, width: int = 8, classes: int = 4) -> None:
        super().__init__()
        self.out = nn.Conv2d(8, width, 1)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.out(self.trunk(x))).mean((2, 3)))


class Sequence(Trunk):
    """A recurrent layer over the pixels."""

    layer: Callable[[], nn.Module]
    features = 6

    def __init__(self) -> None:
        super().__init__()
        self.rnn = type(self).layer()
        self.head = nn.Linear(self.features, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(self.trunk(x).flatten(2).transpose(1, 2))[0][:, -1])


@kind()
class Lstm(Sequence):
    layer = staticmethod(lambda: nn.LSTM(8, 6, batch_first=True))


@kind()
class ProjectedLstm(Sequence):
    layer = staticmethod(
        lambda: nn.LSTM(8, 6, 2, bias=False, batch_first=True, bidirectional=True, proj_size=3)
    )


@kind()
class Gru(Sequence):
    layer = staticmethod(lambda: nn.GRU(8, 3, 2, batch_first=True, bidirectional=True))


@kind()
class ReluRnn(Sequence):
    layer = staticmethod(lambda: nn.RNN(8, 6, batch_first=True, nonlinearity="relu"))


@kind()
class Cell(Trunk):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        h, c = self.cell(self.trunk(x).mean((2, 3)))
        return self.cell(self.trunk(x).amax((2, 3)), (h, c))[0]


@kind()
class Deformable(Trunk):
    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Conv2d(8, 18, 3, padding=1)
        self.deform = DeformConv2d(8, 5, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.trunk(x)
        return self.deform(y, self.offset(y)).mean((2, 3))


@kind()
class Attention(Trunk):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.trunk(x).flatten(2).transpose(1, 2)
        return (y + self.attention(y, y, y, need_weights=False)[0]).mean(1)


@kind(without_class=False)
class WeightNorm(Plain):
    def __init__(self) -> None:
        super().__init__()
        parametrizations.weight_norm(self.body)


@kind(without_class=False)
class SpectralNorm(Plain):
    def __init__(self) -> None:
        super().__init__()
        parametrizations.spectral_norm(self.head)


@kind(without_class=False)
class PruneHook(Plain):
    def __init__(self) -> None:
        super().__init__()
        prune.l1_unstructured(self.body, "weight", 0.3)


class Standardised(nn.Conv2d):
    """Weights have no mean."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class NormAct(nn.BatchNorm2d):
    """A norm with its activation."""

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(super().forward(x))


@kind()
class Subclassed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(Standardised(3, 12, 3), NormAct(12), nn.Conv2d(12, 5, 3), nn.Flatten(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).mean(-1)


@kind(without_class=False)
class Hooked(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.bn.register_forward_hook(lambda module, args, out: out.sigmoid())


@pytest.mark.parametrize("hooked", [True, False])
def test_hooks_that_a_fresh_network_lacks_are_warned_of(
    hooked: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def halve(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        return output * 0.5

    model, fresh, x = Plain().eval(), Plain(), torch.rand(2, 3, 8, 8)
    model.body.register_forward_hook(halve)
    dense = edgeprune.prune(model, x, target="flops=0.7", align=1).model
    edgeprune.save(dense, tmp_path / "net.safetensors")
    if hooked:
        fresh.body.register_forward_hook(halve)
    loaded = edgeprune.load(tmp_path / "net.safetensors", into=fresh)
    assert torch.allclose(loaded(x), dense(x), atol=1e-6) == hooked
    assert ("had forward hooks (body)" in caplog.text) == (not hooked)


class Sign(torch.autograd.Function):
    """A step with the gradient of the identity."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x.sign()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient


@kind(without_class=False)
class StraightThrough(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(Sign.apply(self.trunk(x))[:, :3])


@kind()
class Chunked(Trunk):
    """A width is written into its code: it gets another forward."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Conv2d(4, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.trunk(x)
        return self.out(y[:, :4] + y[:, 4:].sigmoid()).mean((2, 3))


@kind(without_class=False)
class SizeBranch(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.shape[-1] < 10 else F.avg_pool2d(x, 2))


@kind()
class Tied(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.twin = nn.Conv2d(3, 12, 3, padding=1)
        self.twin.weight = self.stem.weight

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.twin(x).mean((1, 2, 3))[:, None]


@kind()
class Passing(Plain):
    """A buffer that no state_dict has, other in each instance."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("gain", torch.rand(4), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.gain


class Counting(nn.Identity):
    """A layer with extra state."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = float(torch.rand(()))

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.gain, dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        self.gain = state.item()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain


@kind()
class ExtraState(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.scale = Counting()

    def forward(self, x: Tensor) -> Tensor:
        return self.scale(super().forward(x))


@kind()
class Frozen(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.stem.requires_grad_(requires_grad=False)


@kind(lambda: ({"a": torch.randn(2, 3, 8, 8), "more": [torch.randn(2, 4)]}, 2.0), without_class=False)
class Dicts(Plain):
    def forward(self, inputs: dict[str, Any], gain: float) -> dict[str, Tensor]:
        return {"y": super().forward(inputs["a"]) * gain + inputs["more"][0]}


@kind(lambda: (torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)))
class TwoInputs(Plain):
    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(a + b), super().forward(a)


@kind()
class Auxiliary(Plain):
    """In training there is a second output."""

    def __init__(self) -> None:
        super().__init__()
        self.extra = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Any:
        out = super().forward(x)
        return (out, self.extra(self.trunk(x))) if self.training else out


@kind(lambda: (torch.randint(0, 9, (2, 5)),))
class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 8)
        self.net = nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 8), nn.LayerNorm(8))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.embed(x)).mean(1)


names = pytest.mark.parametrize("name", KINDS)


def pruned(model: nn.Module, inputs: Inputs, share: float = 0.6, seed: int = 0, **options: Any) -> nn.Module:
    graph = build_graph(model, inputs, **options)
    return compact(graph, Plan.of(graph, random_keep(graph, share, seed))).model


def outputs(model: nn.Module, inputs: Inputs, *, training: bool = False) -> list[Tensor]:
    torch.manual_seed(3)
    with torch.no_grad():
        return tensors_of(copy.deepcopy(model).train(training)(*copy.deepcopy(inputs)))


def assert_same(
    a: nn.Module, b: nn.Module, inputs: Inputs, *, modes: tuple[bool, ...] = (False, True)
) -> None:
    """The same numbers, to the bit."""
    for training in modes:
        pairs = zip(outputs(a, inputs, training=training), outputs(b, inputs, training=training), strict=True)
        for item, other in pairs:
            assert item.dtype == other.dtype and torch.equal(item, other)


def metadata(path: Path) -> dict[str, str]:
    with safe_open(str(path), "pt") as handle:
        return dict(handle.metadata())


@names
def test_it_comes_back_with_its_class(name: str, tmp_path: Path) -> None:
    network, inputs = KINDS[name], KINDS[name].inputs()
    torch.manual_seed(0)
    dense = pruned(randomise(network.make()), inputs)
    assert sum(p.numel() for p in dense.parameters()) < sum(p.numel() for p in network.make().parameters())
    path = edgeprune.save(dense, tmp_path / "net.safetensors")
    torch.manual_seed(9)
    fresh = network.make()
    again = edgeprune.load(path, into=fresh)
    assert again is fresh and type(again) is type(dense) and not again.training
    assert list(again.state_dict()) == list(dense.state_dict())
    assert_same(dense, again, inputs)
    flags = {name: p.requires_grad for name, p in dense.named_parameters()}
    assert flags == {name: p.requires_grad for name, p in again.named_parameters()}
    assert_same(dense, copy.deepcopy(again), inputs)
    other = edgeprune.save(again, tmp_path / "again.safetensors")  # it can be saved once more
    assert_same(dense, edgeprune.load(other, into=network.make()), inputs)


@names
def test_it_comes_back_without_its_class_where_it_is_data(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network, inputs = KINDS[name], KINDS[name].inputs()
    torch.manual_seed(0)
    dense = pruned(randomise(network.make()), inputs)
    path = edgeprune.save(dense, tmp_path / "net.safetensors")
    if not network.without_class:
        with pytest.raises(ModelError, match=r"needs its class .* load it with .*into=MyNet\(\)") as error:
            edgeprune.load(path)
        assert "\n" not in str(error.value)
        return
    again = edgeprune.load(path)
    trains = name not in ("Auxiliary", "Subclassed")  # a graph is of the evaluation mode: load says so
    assert_same(dense, again, inputs, modes=(False, True) if trains else (False,))
    assert ("to train it, load it with into=" in caplog.text) is not trains
    flags = {name: p.requires_grad for name, p in dense.named_parameters()}
    assert flags.items() >= {name: p.requires_grad for name, p in again.named_parameters()}.items()


# --- what a network has been through -----------------------------------------------------------------


def test_pruned_twice_on_other_sizes_and_with_layers_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first = edgeprune.prune(
        randomise(Plain(16)), torch.randn(1, 3, 8, 8), target="flops=0.7", ignore=["stem"]
    )
    second = edgeprune.prune(first.model, torch.randn(2, 3, 12, 12), target="flops=0.6", criterion="random")
    path = edgeprune.save(second.model, tmp_path / "net.safetensors")
    assert first.model.stem.out_channels == 12 > second.model.stem.out_channels  # type: ignore[union-attr]
    for again in (edgeprune.load(path), edgeprune.load(path, into=Plain(16))):
        assert_same(second.model, again, images())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("when", ["before", "after"])
def test_another_type(dtype: torch.dtype, when: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, inputs = randomise(Plain()), images()
    if when == "before":
        dense = pruned(model.to(dtype), tuple(x.to(dtype) for x in inputs))
    else:
        dense = pruned(model, inputs).to(dtype)
    path = edgeprune.save(dense, tmp_path / "net.safetensors")
    inputs = tuple(x.to(dtype) for x in inputs)
    for again in (edgeprune.load(path), edgeprune.load(path, into=Plain())):
        assert {p.dtype for p in again.parameters()} == {dtype}
        assert_same(dense, again, inputs, modes=(False,))


def test_channels_last(tmp_path: Path) -> None:
    torch.manual_seed(0)
    inputs = tuple(x.contiguous(memory_format=torch.channels_last) for x in images())
    model = randomise(Plain()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    dense = pruned(model, inputs)
    path = edgeprune.save(dense, tmp_path / "net.safetensors")
    for again in (edgeprune.load(path), edgeprune.load(path, into=Plain())):
        assert not again.stem.weight.is_contiguous()  # type: ignore[union-attr,operator]
        assert again.stem.weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[union-attr,operator]
        assert_same(dense, again, inputs)


def test_a_frozen_norm_in_a_training_network_stays_frozen(tmp_path: Path) -> None:
    torch.manual_seed(0)
    dense = pruned(randomise(Plain()), images()).train()
    dense.bn.eval()  # type: ignore[union-attr,operator]
    again = edgeprune.load(edgeprune.save(dense, tmp_path / "net.safetensors"))
    assert again.training and not again.bn.training and again.stem.training  # type: ignore[union-attr]


class Compiled(nn.Module):
    """What torch.compile gives, which takes seconds to import."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._orig_mod = model


@pytest.mark.parametrize("wrap", [Compiled, nn.DataParallel, copy.deepcopy])
def test_what_wraps_a_network_is_not_saved(wrap: Callable[[nn.Module], nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    dense = pruned(randomise(Plain()), images())
    path = edgeprune.save(wrap(dense), tmp_path / "net.safetensors")
    assert_same(dense, edgeprune.load(path, into=Plain()), images())


def test_trained_after_it_was_pruned(tmp_path: Path) -> None:
    torch.manual_seed(0)
    dense = pruned(randomise(Tied()), images()).train()
    optimizer = torch.optim.SGD(dense.parameters(), 0.1)
    dense(*images()).square().sum().backward()
    optimizer.step()
    again = edgeprune.load(edgeprune.save(dense, tmp_path / "net.safetensors"), into=Tied())
    assert_same(dense.eval(), again, images())
    assert again.twin.weight is again.stem.weight  # type: ignore[union-attr]
    assert (
        not (tmp_path / "net.safetensors").read_bytes().count(b'"twin.weight":{"dtype"')
    )  # it is written once


def test_what_was_loaded_is_the_instance_that_was_given(tmp_path: Path) -> None:
    """Whoever goes on with the instance itself must not train an unpruned network."""
    torch.manual_seed(0)
    dense = pruned(randomise(Chunked()), images())
    path = edgeprune.save(dense, tmp_path / "net.safetensors")
    fresh = Chunked()
    edgeprune.load(path, into=fresh)
    assert_same(dense, fresh, images())
    twin = copy.deepcopy(fresh)
    for value in twin.state_dict().values():
        value.zero_()
    assert_same(dense, fresh, images())
    fresh.train()
    assert all(module.training for module in fresh.modules())


# --- what does not fit -------------------------------------------------------------------------------


class Wide(Plain):
    """The same names, another width."""

    def __init__(self) -> None:
        super().__init__(16)


class Crossed(Plain):
    """The same tensors, connected in another way."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.trunk(x)
        return self.head((y + self.out(y)).mean((2, 3)))


class Untied(Tied):
    """Two weights where the other has one."""

    def __init__(self) -> None:
        super().__init__()
        self.twin.weight = nn.Parameter(self.stem.weight.detach().clone())


MISFITS: dict[str, tuple[type[nn.Module], Callable[[], nn.Module], str]] = {
    "another class": (Plain, Tokens, r"another network \(Plain\) than this Tokens: it had bn.bias, which"),
    "more layers": (Plain, Auxiliary, "it did not have extra.bias"),
    "another width": (
        Plain,
        Wide,
        r"out.weight had shape \(8, 8, 1, 1\) before it was pruned, this one's has \(16,",
    ),
    "more classes": (Plain, lambda: Plain(8, 5), r"head.weight had shape \(4, 8\) before"),
    "another structure": (
        Plain,
        Crossed,
        "another network than this Crossed: there out has 8 channels to choose from, here no",
    ),
    "ties undone": (Tied, Untied, "twin.weight is one tensor with stem.weight there|than this Untied"),
    "pruned already": (
        Plain,
        lambda: pruned(Plain(), images()),
        "this Plain is pruned already: .* into=Plain",
    ),
    "without values": (Plain, lambda: Plain().to("meta"), "this Plain is on the meta device"),
}


@pytest.mark.parametrize("what", MISFITS)
def test_an_instance_that_does_not_fit(what: str, tmp_path: Path) -> None:
    saved, make, message = MISFITS[what]
    torch.manual_seed(0)
    path = edgeprune.save(pruned(randomise(saved()), images()), tmp_path / "net.safetensors")
    into = make()
    before = {name: (value, copy.copy(value)) for name, value in vars(into).items()}
    weights = {name: value.clone() for name, value in into.state_dict().items()}
    with pytest.raises(EdgePruneError, match=message) as error:
        edgeprune.load(path, into=into)
    assert "\n" not in str(error.value)
    assert vars(into).keys() == before.keys()
    assert all(vars(into)[name] is value for name, (value, _) in before.items())
    if what != "without values":
        assert all(torch.equal(value, weights[name]) for name, value in into.state_dict().items())


@pytest.mark.parametrize(
    ("into", "message"),
    [(Plain, "not a type: into=MyNet"), ("Plain", "not a str"), ({}, "not a dict")],
)
def test_an_instance_that_is_none(into: Any, message: str, tmp_path: Path) -> None:
    path = edgeprune.save(pruned(randomise(Plain()), images()), tmp_path / "net.safetensors")
    with pytest.raises(ModelError, match="an instance of the network's class is wanted"):
        edgeprune.load(path, into=into)


def test_an_instance_for_a_run_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="load it without into="):
        edgeprune.load(tmp_path, into=Plain())


class State(Plain):
    """Keeps something that no file of tensors holds."""

    def get_extra_state(self) -> dict[str, int]:
        return {"count": 3}


@dataclass
class Pair:
    """An input of a class of one's own."""

    a: Tensor
    b: Tensor


class OfPair(Plain):
    def forward(self, pair: Pair) -> Tensor:
        return super().forward(pair.a + pair.b)


def test_what_no_file_can_hold(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="_extra_state is of type dict, and a file holds tensors alone"):
        edgeprune.save(pruned(State(), images()), tmp_path / "net.safetensors")
    dense = pruned(OfPair(), (Pair(*images(), *images()),))
    with pytest.raises(ModelError, match="its example has a Pair, which no file can hold"):
        edgeprune.save(dense, tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())


def test_pruned_in_place(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = randomise(Chunked())
    for _ in range(2):
        graph = build_graph(model, images())
        plan = Plan.of(graph, random_keep(graph, 0.8, 0))
        model = edgeprune.compact(model, graph, compact(graph, plan).plan, in_place=True)
    path = edgeprune.save(model, tmp_path / "net.safetensors")
    for again in (edgeprune.load(path), edgeprune.load(path, into=Chunked())):
        assert_same(model, again, images())


def test_a_torchvision_of_another_build_does_not_keep_a_network_from_being_saved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "torchvision.ops.deform_conv:DeformConv2d" in pure_layers()
    monkeypatch.setitem(sys.modules, "torchvision", None)
    layers = pure_layers.__wrapped__()
    assert layers["torch.nn.modules.conv:Conv2d"] is nn.Conv2d
    assert not [name for name in layers if name.startswith("torchvision")]
