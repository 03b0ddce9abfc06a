"""A whole table, of a device made by hand whose times are known; and what it predicts of plans."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from edgeprune.bench.process import OnEvent, ignore_event
from edgeprune.compaction import compact
from edgeprune.errors import LatencyError
from edgeprune.export.onnx import export_model
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.latency import build as module
from edgeprune.latency.build import build_table
from edgeprune.latency.choose import Chooser
from edgeprune.latency.predict import LatencyModel
from edgeprune.latency.shapes import read_model
from edgeprune.latency.table import Table
from edgeprune.plan import Plan

STEP = 16


class Board:
    """Convolutions take steps of 16 on either side, all else 1 us for each channel; it counts its files."""

    def __init__(self) -> None:
        self.timed: list[str] = []
        self.speed = 1.0

    def send(self, path: Path) -> str:
        return str(path)

    def remove(self, remote: str) -> None:
        """Nothing was made."""

    def call(self, verb: str, arguments: Sequence[str], on_event: OnEvent = ignore_event) -> Any:
        if verb == "probe":
            versions = {"onnxruntime": "1.0", "tensorrt": None}
            return {
                "board": {"model": None},
                "cpu_model": "made up",
                "runtimes": versions,
                "cores_physical": 2,
            }
        assert verb == "layers"
        path = arguments[arguments.index("--model") + 1]
        self.timed.append(Path(path).name)
        self.speed *= 1.3  # a machine that slows down all the time
        return {"layers": times_of(path, self.speed)}


def times_of(path: str, speed: float) -> list[dict[str, Any]]:
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    weights = {one.name: list(one.dims) for one in graph.initializer}
    sizes = {
        v.name: [d.dim_value or 1 for d in v.type.tensor_type.shape.dim]
        for v in [*graph.input, *graph.value_info, *graph.output]
    }
    found = []
    for node in graph.node:
        area = math.prod(sizes.get(node.output[0], [1, 1])[2:])
        if node.op_type in ("Conv", "Gemm"):
            a, b, *_ = (math.ceil(n / STEP) * STEP for n in weights[node.input[1]][:2])
            ms = 1e-6 * a * b * area + 0.01
        else:
            ms = 0.001 * sizes.get(node.output[0], [1, 1])[1] if node.op_type == "AveragePool" else 0.0
        row = {"name": node.name, "kind": node.op_type, "onnx": [node.name], "ms": ms * speed}
        found.append({**row, "outputs": [], "formats": [], "reformat": False})
    return found


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1)
        self.one, self.two = nn.Conv2d(32, 64, 3, padding=1), nn.Conv2d(64, 32, 3, padding=1)
        self.last = nn.Conv2d(32, 96, 3, stride=2, padding=1)
        self.head = nn.Linear(96, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = (x + self.two(self.one(x).relu())).relu()
        x = torch.nn.functional.avg_pool2d(self.last(x).relu(), 2)
        return self.head(x.mean((2, 3)))


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Board:
    made = Board()
    monkeypatch.setattr(module, "LocalTransport", lambda: made)
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    return export_model(Net().eval(), (3, 16, 16), tmp_path / "net.onnx").path


@pytest.fixture
def graph() -> Graph:
    torch.manual_seed(0)
    return build_graph(Net().eval(), torch.zeros(1, 3, 16, 16))


def test_steps_are_found_and_plans_foretold_on_a_machine_that_slows_down(
    board: Board, file: Path, graph: Graph, tmp_path: Path
) -> None:
    table = build_table(file, tmp_path / "t.json")
    inner = {entry.shape.key: entry for entry in table.entries.values()}["conv 3x3 on 16x16 + Relu"]
    assert inner.steps == {"inputs": 16, "outputs": 16}
    predicted = LatencyModel(graph, read_model(file, 1), table)
    whole = sum(layer["ms"] for layer in times_of(str(file), 1.0))
    scale = predicted.ms() / whole  # all times count from the first file's speed
    rng = np.random.default_rng(0)
    for _ in range(5):
        keep = np.zeros(graph.classes, dtype=bool)
        for group in graph.groups:
            keep[group.classes[: 16 * rng.integers(1, group.size // 16 + 1)]] = True
        dense = export_model(
            compact(graph, Plan.of(graph, keep)).model, (3, 16, 16), tmp_path / "p.onnx"
        ).path
        truth = sum(layer["ms"] for layer in times_of(str(dense), 1.0))
        assert predicted.ms(keep) / scale == pytest.approx(truth, rel=0.02)
        counts = np.array([int(keep[g.classes].sum()) for g in graph.groups])
        assert predicted.by_widths()(counts) == pytest.approx(predicted.ms(keep))
    assert predicted.steps().tolist() == [16] * len(graph.groups)


def test_half_the_time_by_the_table_is_half_the_time_on_the_device(
    board: Board, file: Path, graph: Graph, tmp_path: Path
) -> None:
    predicted = LatencyModel(graph, read_model(file, 1), build_table(file, tmp_path / "t.json"))
    scores = np.random.default_rng(0).random(graph.classes)
    goal = {"latency": 0.5 * predicted.ms()}
    plan = Chooser(graph, scores, {"latency": predicted.by_widths()}, goal, steps=predicted.steps()).plan()
    dense = export_model(compact(graph, plan).model, (3, 16, 16), tmp_path / "p.onnx").path
    before, after = (sum(layer["ms"] for layer in times_of(str(path), 1.0)) for path in (file, dense))
    assert after / before <= 0.5 * 1.02


def test_what_is_known_is_not_timed_again(board: Board, file: Path, tmp_path: Path) -> None:
    place = tmp_path / "t.json"
    first = build_table(file, place)
    board.timed.clear()
    second = build_table(file, place)
    assert set(board.timed) == {"net.onnx"}  # but for what is no layer
    assert second.entries == first.entries == Table.load(place).entries


def test_a_build_that_was_stopped_goes_on(
    board: Board, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, left = tmp_path / "t.json", [2]
    sample = module.sample

    def stopped(*given: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        sample(*given)

    monkeypatch.setattr(module, "sample", stopped)
    with pytest.raises(KeyboardInterrupt):
        build_table(file, place)
    done = set(Table.load(place).entries)
    monkeypatch.setattr(module, "sample", sample)
    timed = len(board.timed)
    build_table(file, place)
    assert len(done) == 2 and len(Table.load(place).entries) > 2
    assert len(board.timed) - timed > 0


def test_a_table_of_other_conditions_is_refused(board: Board, file: Path, tmp_path: Path) -> None:
    build_table(file, tmp_path / "t.json", threads=2)
    with pytest.raises(LatencyError, match="measured with threads 2, not 1"):
        build_table(file, tmp_path / "t.json", threads=1)
