"""The library's verbs, called wrongly: one line that says what is wrong, and never another exception."""

import math
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import edgeprune
from edgeprune.errors import EdgePruneError
from edgeprune.importance import score


class Net(nn.Sequential):
    """conv 3->8, conv 8->8, linear 8->4."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 3),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 4),
        )


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.conv(x) + self.conv(y)


class Breaks(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise KeyError("two\nlines")


NET = Net().eval()
X = torch.zeros(2, 3, 8, 8)
GRAPH = edgeprune.trace(NET, X)
SCORES = np.arange(GRAPH.classes, dtype=float)
PLAN = edgeprune.select(GRAPH, SCORES, "flops=0.5")
OTHER = edgeprune.trace(nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3)).eval(), X)
OTHER_PLAN = edgeprune.select(OTHER, np.arange(OTHER.classes, dtype=float), "flops=0.6")


def with_bad_score(value: float) -> np.ndarray:
    scores = SCORES.copy()
    scores[1] = value
    return scores


def batches(*batch: Any) -> list[Any]:
    return [batch]


def prune(**options: Any) -> Callable[[], Any]:
    return lambda: edgeprune.prune(NET, X, **options)


def select(*options: Any, **more: Any) -> Callable[[], Any]:
    return lambda: edgeprune.select(GRAPH, *(options or (SCORES, "flops=0.5")), **more)


def traced(model: Any, *example: Any) -> Callable[[], Any]:
    return lambda: edgeprune.trace(model, *example)


Y = torch.zeros(2, dtype=torch.long)
CASES: dict[str, Callable[[], Any]] = {
    # models
    "trace: no module": traced("resnet20", X),
    "trace: None": traced(None, X),
    "trace: a class": traced(Net, X),
    "trace: a function": traced(lambda x: x, X),
    "trace: a state dict": traced(NET.state_dict(), X),
    "trace: an empty module": traced(nn.Module(), X),
    "trace: a model that raises": traced(Breaks(), X),
    "prune: no module": lambda: edgeprune.prune(3, X),
    "prune: None": lambda: edgeprune.prune(None, X),
    "mask: no module": lambda: edgeprune.mask("net", GRAPH, PLAN),
    "compact: no module": lambda: edgeprune.compact(None, GRAPH, PLAN),
    # examples
    "trace: an empty batch": traced(NET, torch.zeros(0, 3, 8, 8)),
    "trace: no values": traced(NET, torch.zeros(1, 3, 0, 8)),
    "trace: an array": traced(NET, np.zeros((1, 3, 8, 8))),
    "trace: a shape": traced(NET, (1, 3, 8, 8)),
    "trace: None as example": traced(NET, None),
    "trace: an empty tuple": traced(NET, ()),
    "trace: two for one": traced(NET, (X, X)),
    "trace: one for two": traced(TwoInputs(), X),
    "trace: integers": traced(NET, torch.zeros(1, 3, 8, 8, dtype=torch.long)),
    "trace: halves": traced(NET, X.half()),
    "trace: doubles": traced(NET, X.double()),
    "trace: complex": traced(NET, X.to(torch.complex64)),
    "trace: too few channels": traced(NET, torch.zeros(1, 1, 8, 8)),
    "trace: no batch axis": traced(NET, torch.zeros(8, 8)),
    "trace: too small": traced(NET, torch.zeros(1, 3, 2, 2)),
    "prune: a meta model": lambda: edgeprune.prune(Net().to("meta"), X),
    "trace: a list of text": traced(NET, ["x"]),
    "trace: a dict": traced(NET, {"x": X}),
    "trace: a half model": traced(Net().half(), X),
    "prune: an empty batch": lambda: edgeprune.prune(NET, X[:0]),
    "prune: a string": lambda: edgeprune.prune(NET, "3x8x8"),
    # ignore
    "trace: ignore unknown": lambda: edgeprune.trace(NET, X, ["nowhere"]),
    "trace: ignore empty": lambda: edgeprune.trace(NET, X, [""]),
    "trace: ignore a number": lambda: edgeprune.trace(NET, X, 3),
    "trace: ignore numbers": lambda: edgeprune.trace(NET, X, [3]),
    "trace: ignore None": lambda: edgeprune.trace(NET, X, None),
    "trace: ignore a string": lambda: edgeprune.trace(NET, X, "0"),
    # targets
    "target: empty": prune(target=""),
    "target: None": prune(target=None),
    "target: a number": prune(target=0.5),
    "target: a list": prune(target=["flops=0.5"]),
    "target: bytes": prune(target=b"flops=0.5"),
    "target: nan": prune(target="flops=nan"),
    "target: infinite": prune(target="flops=inf"),
    "target: negative": prune(target="flops=-0.5"),
    "target: zero": prune(target="flops=0"),
    "target: above one": prune(target="flops=2"),
    "target: no number": prune(target="flops=half"),
    "target: no kind": prune(target="=0.5"),
    "target: unknown kind": prune(target="speed=0.5"),
    "target: twice": prune(target="flops=0.5,flops=0.4"),
    "target: a comma too many": prune(target="flops=0.5,"),
    "target: an amount of FLOPs": prune(target="flops=5MB"),
    "target: an unknown unit": prune(target="memory=5PB"),
    "target: infinite memory": prune(target="memory=1e999MB"),
    "target: out of reach": prune(target="flops=0.001"),
    "target: time without a device": select(SCORES, "latency=0.5"),
    # numbers
    "align: zero": prune(align=0),
    "align: negative": prune(align=-8),
    "align: a float": prune(align=8.0),
    "align: a string": prune(align="8"),
    "align: True": prune(align=True),
    "align: absurd": prune(align=10**30),
    "floor: zero": prune(floor=0),
    "floor: negative": prune(floor=-1),
    "floor: nan": prune(floor=math.nan),
    "floor: a string": prune(floor="2"),
    "select: align 0": select(align=0),
    "select: floor 2.5": select(floor=2.5),
    # scores
    "scores: too few": select(SCORES[:-1], "flops=0.5"),
    "scores: too many": select(np.append(SCORES, 1.0), "flops=0.5"),
    "scores: of two axes": select(SCORES[None], "flops=0.5"),
    "scores: none": select(np.zeros(0), "flops=0.5"),
    "scores: nan": select(with_bad_score(math.nan), "flops=0.5"),
    "scores: None": select(None, "flops=0.5"),
    "scores: text": select(["a"] * GRAPH.classes, "flops=0.5"),
    "scores: a name": select("l1", "flops=0.5"),
    "scores: complex": select(SCORES + 1j, "flops=0.5"),
    "scores: ragged": select([[1.0], [1.0, 2.0]], "flops=0.5"),
    "scores: a dict": select({"0": 1.0}, "flops=0.5"),
    "select: no graph": lambda: edgeprune.select(NET, SCORES, "flops=0.5"),
    "select: None as graph": lambda: edgeprune.select(None, SCORES, "flops=0.5"),
    # ratios
    "ratios: unknown": prune(ratios={"nowhere": 0.5}),
    "ratios: nan": prune(ratios={"0": math.nan}),
    "ratios: zero": prune(ratios={"0": 0.0}),
    "ratios: above one": prune(ratios={"0": 1.5}),
    "ratios: text": prune(ratios={"0": "half"}),
    "ratios: a list": prune(ratios=["0"]),
    "ratios: a number": prune(ratios=0.5),
    # criteria
    "criterion: unknown": prune(criterion="magic"),
    "criterion: empty": prune(criterion=""),
    "criterion: None": prune(criterion=None),
    "criterion: a number": prune(criterion=1),
    "criterion: sss": prune(criterion="sss"),
    "criterion: gives nothing": prune(criterion=lambda graph: None),
    "criterion: gives text": prune(criterion=lambda graph: "high"),
    "criterion: gives too few": prune(criterion=lambda graph: np.ones(1)),
    "criterion: gives nan": prune(criterion=lambda graph: np.full(graph.classes, math.nan)),
    "criterion: takes nothing": prune(criterion=lambda: SCORES),
    "options: unknown": prune(options={"colour": "red"}),
    "options: a list": prune(options=["reduction"]),
    "options: a bad value": prune(options={"reduction": "median"}),
    "options: a value of another type": prune(options={"reduction": 3}),
    "options: numbers as names": prune(options={3: 3}),
    # batches
    "batches: none": prune(criterion="taylor"),
    "batches: empty": prune(criterion="taylor", batches=[]),
    "batches: an empty generator": prune(criterion="taylor", batches=iter(())),
    "batches: gives nothing": prune(criterion="taylor", batches=lambda: None),
    "batches: a number": prune(criterion="taylor", batches=3),
    "batches: no labels": prune(criterion="taylor", batches=[X]),
    "batches: single": prune(criterion="taylor", batches=[(X,)]),
    "batches: three": prune(criterion="taylor", batches=batches(X, Y, Y)),
    "batches: arrays": prune(criterion="taylor", batches=batches(X.numpy(), Y.numpy())),
    "batches: fewer labels": prune(criterion="taylor", batches=batches(X, Y[:1])),
    "batches: labels beyond the classes": prune(criterion="taylor", batches=batches(X, Y + 9)),
    "batches: labels below zero": prune(criterion="taylor", batches=batches(X, Y - 5)),
    "batches: float labels": prune(criterion="taylor", batches=batches(X, Y.float())),
    "batches: other channels": prune(criterion="taylor", batches=batches(X[:, :1], Y)),
    "batches: integers": prune(criterion="taylor", batches=batches(X.long(), Y)),
    "batches: no images": prune(criterion="taylor", batches=batches(X[:0], Y[:0])),
    "batches: nan": prune(criterion="taylor", batches=batches(X * math.nan, Y)),
    "batches: hrank without images": prune(criterion="hrank", batches=[]),
    "batches: thinet of other channels": prune(criterion="thinet", batches=batches(X[:, :1], Y)),
    "score: unknown": lambda: score(GRAPH, "magic"),
    "score: no graph": lambda: score(NET, "l1"),
    # device
    "device: unknown": prune(device="toaster"),
    "device: empty": prune(device=""),
    "device: a number": prune(device=3),
    "device: with ratios": prune(device="cpu", ratios={"0": 0.5}),
    # plans
    "mask: another model's plan": lambda: edgeprune.mask(NET, GRAPH, OTHER_PLAN),
    "compact: another model's plan": lambda: edgeprune.compact(NET, GRAPH, OTHER_PLAN),
    "compact: another model's graph": lambda: edgeprune.compact(NET, OTHER, OTHER_PLAN),
    "compact: no plan": lambda: edgeprune.compact(NET, GRAPH, None),
    "mask: a dict": lambda: edgeprune.mask(NET, GRAPH, PLAN.to_dict(GRAPH)),
    "mask: no graph": lambda: edgeprune.mask(NET, NET, PLAN),
    "compact: no graph": lambda: edgeprune.compact(NET, None, PLAN),
    # files
    "save: an untraced model": lambda: edgeprune.save(NET, "net.safetensors"),
    "save: None": lambda: edgeprune.save(None, "net.safetensors"),
    "save: to None": lambda: edgeprune.save(GRAPH.module, None),
    "save: to a number": lambda: edgeprune.save(GRAPH.module, 3),
    "save: to nothing": lambda: edgeprune.save(GRAPH.module, ""),
    "save: to a folder": lambda: edgeprune.save(GRAPH.module, "."),
    "save: below a file": lambda: edgeprune.save(GRAPH.module, "file/net.safetensors"),
    "save: a NUL": lambda: edgeprune.save(GRAPH.module, "a\0b.safetensors"),
    "save: too long a name": lambda: edgeprune.save(GRAPH.module, "x" * 300 + ".safetensors"),
    "load: None": lambda: edgeprune.load(None),
    "load: a number": lambda: edgeprune.load(3),
    "load: nothing": lambda: edgeprune.load(""),
    "load: nowhere": lambda: edgeprune.load("nowhere"),
    "load: a folder that is no run": lambda: edgeprune.load("."),
    "load: an empty file": lambda: edgeprune.load("file"),
    "load: a NUL": lambda: edgeprune.load("a\0b"),
    "load: too long a name": lambda: edgeprune.load("x" * 300),
    "load: an open file": lambda: edgeprune.load(BytesIO()),
}  # fmt: skip


@pytest.mark.parametrize("call", CASES.values(), ids=CASES)
def test_one_line(call: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(EdgePruneError) as caught:
        call()
    message = str(caught.value)
    assert message.strip() and "\n" not in message
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_nothing_of_this_changed_the_model() -> None:
    assert NET[0].out_channels == 8 and not NET.training
    assert edgeprune.prune(NET, X).report.channels[0] == 20


def test_whole_numbers_of_numpy_and_paths_as_text_are_fine(tmp_path: Path) -> None:
    dense = edgeprune.prune(NET, X, align=np.int64(2), floor=np.int32(2)).model
    assert edgeprune.load(str(edgeprune.save(dense, str(tmp_path / "net.safetensors"))))(X).shape == (2, 4)
    assert edgeprune.select(GRAPH, SCORES.tolist(), "flops=0.5").keep.tolist() == PLAN.keep.tolist()
    assert edgeprune.select(GRAPH, torch.from_numpy(SCORES), "flops=0.5").keep.tolist() == PLAN.keep.tolist()
