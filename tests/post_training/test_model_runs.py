"""Torch networks that are pruned themselves by `edgeprune prune -o NAME.safetensors`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor, nn

import edgeprune
from edgeprune.cli import main
from edgeprune.errors import ModelError, RunError
from edgeprune.files.tensors import read_tensors
from edgeprune.post_training.files import begin_model, prune_run
from edgeprune.post_training.model_subject import NormsAlone, open_model
from edgeprune.post_training.options import PruneOptions
from edgeprune.runs.file_runs import FileRun
from edgeprune.runs.subject_options import SubjectOptions
from edgeprune.runs.subjects import subjects_of
from edgeprune.training import Interrupted, loop
from post_training.interrupted import stopping

FACTORY = f"{__name__}:net"
INPUT = {"inputs": ["3x8x8"]}
FAST = {"target": "flops=0.6", "criterion": "l1", "sensitivity": False, "refit": "none"}


class Net(nn.Module):
    """Of a class of the user's own, with a dropout that must stay off while it learns."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm_a = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.b, self.norm_b = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.drop, self.head = nn.Dropout(0.5), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm_a(self.a(x)).relu()
        x = (x + self.norm_b(self.b(x))).relu()
        return self.head(self.drop(x.mean((2, 3))))


def net(num_classes: int = 4) -> nn.Module:
    """Return the same network each time, with statistics that are not those of a new one."""
    torch.manual_seed(0)
    model = Net()
    with torch.no_grad():
        for _ in range(20):
            model(torch.randn(32, 3, 8, 8))
    return model.eval()


def pair() -> nn.Module:
    """Return a network with a dict of outputs."""

    class Named(Net):
        def forward(self, x: Tensor) -> Any:
            return {"out": super().forward(x)}

    return Named()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs of the network."""
    place = tmp_path_factory.mktemp("inputs") / "x.npy"
    np.save(place, np.random.default_rng(0).standard_normal((160, 3, 8, 8)).astype(np.float32))
    return place


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def _begun(place: Path, images: Path, **options: Any) -> FileRun:
    chosen = PruneOptions(**{**FAST, **options})
    return begin_model(
        FACTORY,
        SubjectOptions(**INPUT),
        place,
        chosen,
        images=str(images),
        out=place.parent / f"{place.name}.safetensors",
    )[0]


def test_a_users_network_comes_out_smaller_and_is_her_own(images: Path, tmp_path: Path) -> None:
    out, run = tmp_path / "small.safetensors", tmp_path / "run"
    result = _run(
        "prune", FACTORY, "--input", "3x8x8", "--images", str(images), "--target", "flops=0.6",
        "-o", str(out), "--run", str(run), "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["out"] == str(out) and summary["flops_fraction"] <= 0.6
    x = torch.from_numpy(np.load(images)[:20])
    small = edgeprune.load(out, into=net()).eval()
    assert isinstance(small, Net) and small.a.out_channels < 16
    assert sum(parameter.numel() for parameter in small.parameters()) == summary["models"]["pruned"]["params"]
    with torch.no_grad():
        expected = small(x)
        assert torch.allclose(edgeprune.load(out).eval()(x), expected, atol=1e-5)
    import onnxruntime as ort

    session = ort.InferenceSession(str(run / "export" / "pruned.onnx"))
    (output,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert np.allclose(output, expected.numpy(), atol=1e-4)
    assert onnx.load(run / "export" / "baseline.onnx").graph.node
    assert subjects_of([str(run)]).names == ("baseline", "pruned")  # `bench` measures the run as any


def test_before_any_fit_the_smaller_network_is_the_masked_one(images: Path, tmp_path: Path) -> None:
    subject = open_model(FACTORY, SubjectOptions(**INPUT), str(images), PruneOptions(**FAST))
    run = _begun(tmp_path / "run", images)
    prune_run(run)
    form = subject.kept(run.cut(".safetensors"))
    assert form.plan is not None
    x = torch.from_numpy(np.load(images)[:20])
    with torch.no_grad():
        masked = edgeprune.mask(subject.network, subject.graph, form.plan)(x)
        assert torch.allclose(form.network(x), masked, atol=1e-5)


def test_a_run_that_was_stopped_ends_with_the_same_weights(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"distill_epochs": 2, "distill_batch": 32}
    first, parts = (_begun(tmp_path / name, images, **options) for name in ("first", "parts"))
    expected = prune_run(first)
    for stop_after in (1, 3):
        steps = iter(range(stop_after))
        with monkeypatch.context() as patch:
            patch.setattr(loop.Stage, "_maybe_checkpoint", stopping(steps))
            with pytest.raises(Interrupted):
                prune_run(parts)
        assert parts.training.has_checkpoint()
    resumed = _run("prune", "--run", str(parts.path), "--resume")
    assert resumed.exit_code == 0, resumed.output
    written, others = (read_tensors(tmp_path / f"{name}.safetensors") for name in ("parts", "first"))
    assert written.keys() == others.keys()
    assert all(torch.equal(tensor, others[name]) for name, tensor in written.items())
    assert parts.summary().held_out == expected.held_out
    assert expected.distilled is not None and expected.distilled.norms == 2
    assert expected.distilled.kept  # what it learned agrees more


def test_norms_alone_are_in_training(images: Path) -> None:
    model = NormsAlone(net())
    model.train()
    assert not any(part.training for part in model.network.modules())
    model.live = True
    model.train()
    assert {name for name, part in model.network.named_modules() if part.training} == {"norm_a", "norm_b"}
    assert not any(part.training for part in model.eval().network.modules())


def test_a_changed_network_is_not_gone_on_with(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _begun(tmp_path / "run", images)
    original = Net.__init__

    def changed(self: Net) -> None:
        original(self)
        self.head.bias.data += 1

    monkeypatch.setattr(Net, "__init__", changed)
    with pytest.raises(RunError, match="is not what .* was begun with"):
        prune_run(run)


def test_mistakes_are_one_line(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = ("--images", str(images), "--target", "flops=0.6", "-o", "x.safetensors")

    def error(*arguments: str) -> str:
        result = _run("prune", *arguments)
        assert result.exit_code == 1, result.output
        (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        return line

    assert "resnet18" in error("torchvision:resnet19", *data, "--weights", str(images))
    assert "has random weights" in error("torchvision:resnet18", *data)
    assert "returns a dict, not tensors alone: prune it as ONNX" in error(
        f"{__name__}:pair", "--input", "3x8x8", *data
    )
    (tmp_path / "net.onnx").write_bytes(b"")
    assert "an ONNX file is pruned to an ONNX file" in error("net.onnx", *data)
    with pytest.raises(ModelError, match="several inputs|one input of images"):
        flat = open_model(
            f"{__name__}:flat", SubjectOptions(inputs=["6"]), None, PruneOptions(target="flops=0.6")
        )
        flat.latency(PruneOptions(target="latency=0.6"), tmp_path, lambda *_: None)
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def flat(num_classes: int = 4) -> nn.Module:
    """Return a network of vectors."""
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))
