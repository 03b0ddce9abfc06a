"""The library as a user calls it."""

import copy
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import fresh
import numpy as np
import pytest
import torch
from torch import nn

import edgeprune
from edgeprune.api import describe
from edgeprune.errors import (
    EdgePruneError,
    ModelError,
    PlanError,
    RunError,
    TargetError,
    TraceError,
    WeightsError,
)
from edgeprune.graph.plan import Plan
from edgeprune.models import build


class Small(nn.Module):
    """conv 3->8, conv 8->8 with a residual, head 8->4: two sets of coupled channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.inner = nn.Conv2d(8, 12, 3, padding=1)
        self.back = nn.Conv2d(12, 8, 3, padding=1)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = x + self.back(torch.relu(self.inner(x)))
        return self.head(self.drop(x.mean((2, 3))))


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_step_by_step_and_in_one_call_agree(x: torch.Tensor) -> None:
    torch.manual_seed(0)
    model = Small().eval()
    before = copy.deepcopy(model.state_dict())
    graph = edgeprune.trace(model, x)
    from edgeprune.importance import score

    plan = edgeprune.select(graph, score(graph, "l1"), target="flops=0.5")
    dense, masked = edgeprune.compact(model, graph, plan), edgeprune.mask(model, graph, plan)
    torch.testing.assert_close(dense(x), masked(x), rtol=1e-5, atol=1e-6)
    result = edgeprune.prune(model, x, criterion="l1", target="flops=0.5")
    torch.testing.assert_close(result.model(x), dense(x))
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_the_report_says_what_was_asked_and_got(x: torch.Tensor) -> None:
    result = edgeprune.prune(Small().eval(), x, target="params=0.5", align=4)
    report = result.report
    assert report.target == "params=0.5"
    assert report.params[0] == sum(p.numel() for p in Small().parameters())
    assert report.params[1] == sum(p.numel() for p in result.model.parameters())
    assert report.fraction_got == report.params[1] / report.params[0] <= 0.505
    assert report.channels[0] == 8 + 12 + 8 + 4
    assert all(after % 4 == 0 for _, after in report.layers.values())
    assert report.size_bytes == (4 * report.params[0], 4 * report.params[1])
    assert "asked params=0.5" in str(report)


def test_the_result_trains_copies_and_keeps_its_dropout(x: torch.Tensor) -> None:
    model = Small().train()
    dense = edgeprune.prune(model, x).model
    assert dense.training
    assert any(isinstance(m, nn.Dropout) and m.p == 0.5 for m in dense.modules())
    twin = copy.deepcopy(dense)
    twin.load_state_dict(dense.state_dict())
    dense(x).sum().backward()
    assert all(p.grad is not None for p in dense.parameters())
    assert not dense.eval().drop.training


def test_a_model_with_the_same_structure_uses_its_own_weights(x: torch.Tensor) -> None:
    first, second = Small().eval(), Small().eval()
    graph = edgeprune.trace(first, x)
    plan = edgeprune.select(graph, np.arange(graph.classes, dtype=float), "flops=0.6")
    torch.testing.assert_close(
        edgeprune.compact(second, graph, plan)(x),
        edgeprune.mask(second, graph, plan)(x),
        rtol=1e-5,
        atol=1e-6,
    )
    assert not torch.allclose(
        edgeprune.compact(first, graph, plan)(x), edgeprune.compact(second, graph, plan)(x)
    )


def test_own_criterion_ratios_and_ignore(x: torch.Tensor) -> None:
    model = Small().eval()
    result = edgeprune.prune(
        model, x, criterion=lambda graph: np.ones(graph.classes), target="flops=0.9", ratios={"inner": 0.5}
    )
    assert result.model.inner.out_channels == 6
    kept = edgeprune.prune(model, x, target="flops=0.7", ignore=["stem"])
    assert kept.model.stem.out_channels == kept.model.back.out_channels == 8
    assert any("ignore" in p.reason for p in kept.graph.protected)


def test_save_and_load_where_the_class_is_unknown(x: torch.Tensor, tmp_path: Path) -> None:
    dense = edgeprune.prune(Small().eval(), x).model
    path = edgeprune.save(dense, tmp_path / "small.safetensors")
    torch.save((x, dense(x).detach()), tmp_path / "pair.pt")
    code = f"""
import torch, edgeprune
model = edgeprune.load({str(path)!r})
x, y = torch.load({str(tmp_path / "pair.pt")!r}, weights_only=True)
assert torch.equal(model(x), y)
model.train()(x).sum().backward()
"""
    done = fresh.run(["-c", code], cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "mobilenet_v3_small", "googlenet"])
def test_save_and_load_real_models(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build(f"torchvision:{name}", num_classes=10).eval()
    x = torch.randn(1, 3, 64, 64)
    dense = edgeprune.prune(model, x, target="flops=0.6").model
    again = edgeprune.load(edgeprune.save(dense, tmp_path / "m.safetensors"))
    torch.testing.assert_close(again(x), dense(x))
    assert list(again.state_dict()) == list(dense.state_dict())


def test_what_cannot_be_saved_or_loaded_says_so(x: torch.Tensor, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="was not pruned by edgeprune"):
        edgeprune.save(Small(), tmp_path / "x.safetensors")
    with pytest.raises(EdgePruneError, match=r"call it x\.safetensors, or use torch\.save"):
        edgeprune.save(Small(), tmp_path / "x.pt")
    with pytest.raises(RunError, match="no such file or run folder: .*nothing$"):
        edgeprune.load(tmp_path / "nothing")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        edgeprune.load(tmp_path / "cut.safetensors")
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(1)}, str(tmp_path / "foreign.safetensors"))
    with pytest.raises(WeightsError, match="no model that edgeprune.save wrote"):
        edgeprune.load(tmp_path / "foreign.safetensors")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("os:system", "only torch and torchvision are looked up"),
        ("torch:load", "no tensor operation"),
        ("torch.hub:load", "no tensor operation"),
        ("operator:methodcaller", "no tensor operation"),
        ("torch:nothing", "no tensor operation"),
    ],
)
def test_a_saved_file_cannot_name_foreign_code(
    target: str, message: str, x: torch.Tensor, tmp_path: Path
) -> None:
    """The metadata is data: a function that is no tensor operation is refused, not called."""
    import json

    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    path = edgeprune.save(edgeprune.prune(Small().eval(), x).model, tmp_path / "m.safetensors")
    with safe_open(str(path), "pt") as handle:
        record = json.loads(handle.metadata()["edgeprune"])
    next(n for n in record["nodes"] if n["op"] == "call_function")["target"] = target
    save_file(load_file(str(path)), str(path), {"edgeprune": json.dumps(record)})
    with pytest.raises(ModelError, match=message):
        edgeprune.load(path)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m, x: edgeprune.prune(m, x, target="flops=0"), TargetError, "outside (0, 1]"),
        (lambda m, x: edgeprune.prune(m, x, target="flops=0.01"), TargetError, "the least that can remain"),
        (lambda m, x: edgeprune.prune(m, x, criterion="magic"), PlanError, "known: "),
        (lambda m, x: edgeprune.prune(m, x, ratios={"nope": 0.5}), PlanError, "known: "),
        (lambda m, x: edgeprune.prune(m, x, ignore=["nope"]), TraceError, "no layer 'nope'"),
        (lambda m, x: edgeprune.prune(m, x[:, :2]), TraceError, "does not run on the example"),
        (
            lambda _, x: edgeprune.prune(nn.Sequential(nn.Conv2d(5, 4, 3)), x),
            TraceError,
            "channels instead); check",
        ),
        (
            lambda _, x: edgeprune.prune(nn.Sequential(nn.LazyConv2d(4, 3)), x),
            TraceError,
            "(0.weight): run the network",
        ),
    ],
)
def test_mistakes(call: object, error: type[EdgePruneError], message: str, x: torch.Tensor) -> None:
    with pytest.raises(error) as caught:
        call(Small().eval(), x)  # type: ignore[operator]
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def calls_of(function: Callable[[], object]) -> int:
    """Calls of Python functions, and of built-in ones, that a function takes."""
    count = 0

    def profile(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def test_describe_and_save_are_linear_in_layers(tmp_path: Path) -> None:
    """2,000 convolutions once took 3.8 and 8.5 seconds, since each layer was held against all others."""
    counts = []
    for layers in (50, 200):
        model = nn.Sequential(*[nn.Conv2d(2, 2, 1, bias=False) for _ in range(layers)]).eval()
        graph = edgeprune.trace(model, torch.zeros(1, 2, 2, 2))
        dense = edgeprune.compact(model, graph, Plan.everything(graph))
        write = partial(edgeprune.save, dense, tmp_path / "m.safetensors")
        counts.append((calls_of(partial(describe, graph)), calls_of(write)))
    for few, many in zip(*counts, strict=True):
        assert many < 4.4 * few


class Exotic(nn.Module):
    """A convolution beside tensors of every layout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        shared = torch.arange(10.0)
        self.register_buffer("empty", torch.zeros(0, 3))
        self.register_buffer("number", torch.tensor(3.0))
        self.register_buffer("transposed", torch.arange(6.0).view(2, 3).t())
        self.register_buffer("expanded", torch.ones(1).expand(4))
        self.register_buffer("first", shared[:5])
        self.register_buffer("second", shared[3:])
        self.register_buffer("complex", torch.ones(2, dtype=torch.complex64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = (self.transposed, self.expanded, self.first, self.second, self.complex.real, self.empty)
        return self.conv(x).mean((2, 3)) + self.number + sum(part.sum() for part in parts)


@pytest.mark.parametrize(
    "model",
    [
        Exotic(),
        Exotic().to(memory_format=torch.channels_last),
        nn.Conv2d(3, 4, 3).bfloat16(),
        Exotic().double(),
    ],
    ids=["exotic", "channels_last", "bf16", "double"],
)
def test_tensors_of_every_layout_are_saved(tmp_path: Path, model: nn.Module) -> None:
    x = torch.randn(2, 3, 8, 8).to(next(model.parameters()).dtype)
    graph = edgeprune.trace(model.eval(), x)
    dense = edgeprune.compact(model, graph, Plan.everything(graph))
    path = edgeprune.save(dense, tmp_path / "new" / "folder" / "m.safetensors")
    for again in (edgeprune.load(path), edgeprune.load(path, into=copy.deepcopy(model))):
        assert torch.equal(again(x), dense(x))
        assert [p.stride() for p in again.parameters()] == [p.stride() for p in dense.parameters()]


def test_tensors_without_values_are_not_saved(tmp_path: Path) -> None:
    dense = edgeprune.prune(
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)), torch.zeros(1, 3, 8, 8)
    ).model
    with pytest.raises(ModelError, match="weight is not a plain tensor with values"):
        edgeprune.save(dense.to("meta"), tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


# --- saving ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [None, 3, ["a"]])
def test_a_place_that_is_no_path(place: object) -> None:
    model = edgeprune.prune(
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)), torch.zeros(1, 3, 8, 8)
    ).model
    with pytest.raises(EdgePruneError, match="a path is wanted"):
        edgeprune.save(model, place)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("number", "message"), [(28, "the disk is full"), (30, "read-only"), (5, "Input/output")]
)
def test_a_disk_that_refuses_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    model = edgeprune.prune(
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)), torch.zeros(1, 3, 8, 8)
    ).model
    place = edgeprune.save(model, tmp_path / "model.safetensors")
    before = place.read_bytes()

    def refuse(self: Path, content: bytes) -> int:
        raise OSError(number, "refused")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(EdgePruneError, match=message) as error:
        edgeprune.save(model, place)
    assert "\n" not in str(error.value)
    assert place.read_bytes() == before and list(tmp_path.iterdir()) == [place]


def test_completion_offers_the_public_names_alone() -> None:
    assert dir(edgeprune) == sorted(edgeprune.__all__)


def test_what_is_printed_of_a_graph_and_a_result_is_short() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    result = edgeprune.prune(model, torch.zeros(1, 3, 8, 8), criterion="l1", target="flops=0.5")
    assert (
        repr(result.graph)
        == "Graph of Sequential, units of coupled channels: 8, groups: 1, protected parts: 1"
    )
    assert repr(result).startswith("Pruned Sequential: asked flops=0.5, got 0.5")
