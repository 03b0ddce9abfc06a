"""Layers on runtimes that time complete files alone: on a device made by hand, and on those that are here."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from edgeprune import backends
from edgeprune.bench.process import OnEvent, ignore_event
from edgeprune.errors import BenchError, LatencyError
from edgeprune.graph.classes import Graph
from edgeprune.importance import score
from edgeprune.latency import BenchTarget, build_table, device_budget
from edgeprune.latency.end_to_end import EndToEndTimer, PairedTimes
from edgeprune.latency.file_profiling import FileProfiler
from edgeprune.latency.grid import Sampling
from edgeprune.latency.layer_networks import LayerNetwork, around
from edgeprune.latency.profiling import LEAST_MS
from edgeprune.latency.shapes import Shape
from edgeprune.latency.table import Table
from latency.conftest import STEP, Board, truth

pytestmark = pytest.mark.usefixtures("older_exporter")

SHAPE = (3, 16, 16)
CONV = Shape("conv", (16, 16), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), ("Relu",))
CALL_MS = 0.25


class Turned(backends.Backend):
    """ONNX files turned around byte by byte, in two precisions."""

    name, title, runtime, extension = "turned", "Turned", "turned", ".turned"
    precisions = ("fp32", "int8")
    needs: ClassVar[dict[str, tuple[str, ...]]] = dict.fromkeys(precisions, ("onnx",))

    def convert(self, job: Any, path: Path) -> dict[str, Any]:
        if self.precision == "int8":
            assert [tuple(batch.shape) for batch, _ in job.calibration()][0] == (1, *job.shape)
        path.write_bytes((job.folder / f"{job.name}.onnx").read_bytes()[::-1])
        return {}


class FileBoard(Board):
    """A board that knows what files take, and a call of them, but not their layers."""

    def call(self, verb: str, arguments: Sequence[str], on_event: OnEvent = ignore_event) -> Any:
        words = list(arguments)
        if verb == "probe":
            answer = super().call(verb, arguments, on_event)
            return {**answer, "runtimes": {**answer["runtimes"], "turned": "7.1"}}
        assert verb == "times" and words[words.index("--runtime") + 1] == "turned"
        files = words[words.index("--models") + 1 : words.index("--runtime")]
        self.timed += [Path(file).name for file in files]
        self.speed *= self.drift
        return {"times_ms": [self.speed * turned_ms(Path(file)) for file in files]}


def turned_ms(path: Path) -> float:
    """What such a file takes on the board, ms."""
    turned_back = path.with_suffix(".back")
    turned_back.write_bytes(path.read_bytes()[::-1])
    return CALL_MS + truth(turned_back)


@pytest.fixture
def files_board(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FileBoard]:
    made = FileBoard()
    monkeypatch.setattr("edgeprune.bench.run.LocalTransport", lambda: made)
    monkeypatch.chdir(tmp_path)
    backends.register(Turned)
    yield made
    backends.unregister("turned")


def layer_ms(inputs: int, outputs: int, area: int) -> float:
    """What `Board` takes for a convolution."""
    a, b = (math.ceil(width / STEP) * STEP for width in (inputs, outputs))
    return 1e-6 * a * b * area + 0.01


def test_what_lies_around_a_layer_is_taken_off(files_board: FileBoard, file: Path) -> None:
    """On a machine that slows down by a third with every call."""
    target = BenchTarget.reach(runtime="turned", precision="int8")
    written: list[Path] = []

    def measured_file() -> Path:
        written.append(file.with_suffix(".turned"))
        written[0].write_bytes(file.read_bytes()[::-1])
        return written[0]

    table = build_table(file, target, measured_file=measured_file)
    assert written and target.lut == Path("luts/cpu-turned-int8-b1-t2.json")
    assert {name: table.conditions[name] for name in ("runtime", "runtime_version", "precision")} == {
        "runtime": "turned", "runtime_version": "7.1", "precision": "int8",
    }  # fmt: skip
    inner = table.entries["conv 3x3 on 16x16 + Relu"]
    assert inner.steps == {"inputs": STEP, "outputs": STEP}
    scale = inner.at(32, 64) / layer_ms(32, 64, 256)  # all times count from the first call's speed
    for inputs, outputs in ((16, 64), (32, 16), (32, 50)):
        assert inner.at(inputs, outputs) / scale == pytest.approx(layer_ms(inputs, outputs, 256), rel=0.02)
    added = table.entries["conv 3x3 on 16x16 + Add + Relu"]
    assert added.at(64, 32) / scale == pytest.approx(layer_ms(64, 32, 256), rel=0.03)
    pooling = table.others["AveragePool on 4x4"] * 96  # the one operation beside layers that takes time here
    assert 0 < pooling / scale < 0.2


def test_a_target_is_met_on_the_runtime_that_was_named(
    files_board: FileBoard, net: nn.Module, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table, the files that are measured beside the baseline, and the record are all of it."""
    shares: list[float] = []

    def times(self: EndToEndTimer, pruned: Path, *_: Any) -> list[PairedTimes]:
        assert {self.baseline_file.suffix, pruned.suffix} == {".turned"}
        base, after = turned_ms(self.baseline_file), turned_ms(pruned)
        shares.append(after / base)
        return [PairedTimes(base, after, base / after, 0.99 * base / after, 1.01 * base / after, 50)]

    monkeypatch.setattr(EndToEndTimer, "_times", times)
    monkeypatch.setattr(
        FileProfiler,
        "sampling",
        Sampling((29, 32, 48, 60, 64), finest=2, refinements=1, together=1, by_kernel=False),
    )
    target = BenchTarget.reach(runtime="turned", precision="int8", threads=1)
    budget = device_budget(net, SHAPE, "latency=0.6", target, graph=graph)
    plan = budget.finalize(graph, score(graph, "l2"))
    assert shares[-1] == pytest.approx(0.6, abs=0.03), plan.notes
    record = budget.record()
    assert record is not None and record["conditions"]["runtime"] == "turned"
    files_board.timed.clear()
    device_budget(net, SHAPE, "latency=0.7", target, graph=graph)
    assert files_board.timed == []


def test_a_table_of_another_runtime_or_precision_is_refused(files_board: FileBoard, file: Path) -> None:
    target = BenchTarget.reach(runtime="turned")
    Table(dict(target.conditions)).save(target.lut)
    for more, message in (
        ({}, "measured with runtime turned, not onnxruntime"),
        ({"runtime": "turned", "precision": "int8"}, "measured with precision fp32, not int8"),
    ):
        with pytest.raises(LatencyError, match=message):
            build_table(file, BenchTarget.reach(**more), target.lut)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"runtime": "litter"}, r"unknown runtime 'litter' \(did you mean 'litert'\?\); known: coreml"),
        (
            {"runtime": "turned", "precision": "fp61"},
            r"unknown precision 'fp61'; known: fp32, int8 \(of the runtime turned\)",
        ),
        ({"runtime": "tensorrt"}, "has no tensorrt: install one there, as in: pip install tensorrt"),
    ],
)
def test_runtimes_and_precisions_that_are_not_there(
    files_board: FileBoard, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(BenchError, match=message):
        BenchTarget.reach(**more)


def test_files_that_cannot_be_written_here(files_board: FileBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Turned, "why_skipped", lambda self: "pip install 'edgeprune[turned]'")
    monkeypatch.setattr(files_board, "call", lambda *_: pytest.fail("the board was asked"))
    with pytest.raises(LatencyError, match=r"turned's files cannot be written here: pip install"):
        BenchTarget.reach(runtime="turned")


@pytest.mark.parametrize(
    ("shape", "point"),
    [
        (CONV, (5, 7)),
        (Shape("conv", (9, 9), (3, 3), (2, 2), (0, 0, 1, 1), (1, 1), ("Add", "Relu")), (4, 6)),
        (Shape("conv", (8, 8), (1, 1), (2, 2), (0,) * 4, (1, 1), ("Add",), raw=True), (3, 6)),
        (Shape("depthwise", (7, 7), (5, 5), (1, 1), (2,) * 4, (1, 1), ("Clip",)), (8, 8)),
        (Shape("conv", (20,), (3,), (1,), (1, 1), (1,), ()), (4, 6)),
        (Shape("conv", (4, 6, 8), (3, 3, 3), (1, 1, 1), (1,) * 6, (1, 1, 1), ("Relu",)), (4, 6)),
        (Shape("linear"), (12, 10)),
    ],
)
def test_networks_of_one_layer(shape: Shape, point: tuple[int, int]) -> None:
    """Each has the layer at its widths and sizes, and takes the same input as those around it."""
    network = LayerNetwork(shape, point)
    sizes: list[tuple[int, ...]] = []
    for layer in network.copies:
        layer.register_forward_hook(lambda _module, _inputs, output: sizes.append(tuple(output.shape[1:])))
    image = torch.zeros(2, *network.shape)
    assert network(image).shape == (2, point[1] * len(network.copies))
    assert set(sizes) == {(point[1], *shape.out_size)}
    assert {other.shape for other in around(shape, point)} == {network.shape}
    assert all(other(image).shape[0] == 2 for other in around(shape, point))


@pytest.mark.parametrize("batch", [1, pytest.param(16, marks=pytest.mark.slow)])
def test_int8_of_onnx_runtime_is_timed_here(tmp_path: Path, batch: int) -> None:
    profiler = FileProfiler(BenchTarget.reach(precision="int8", threads=1, batch=batch), tmp_path)
    assert min(profiler.times([(CONV, (16, 16)), (CONV, (64, 64))])) >= LEAST_MS
    assert [path.name for path in tmp_path.iterdir() if "samples" in path.name and "int8" in path.name] == [
        "samples3.int8.onnx"  # the reference alone is kept
    ]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("runtime", ["openvino", "ncnn", "litert", "executorch"])
def test_layers_are_timed_on_every_runtime_that_is_here(runtime: str, precision: str, tmp_path: Path) -> None:
    backend = backends.for_runtime(runtime, precision)
    assert backend is not None
    if reason := backend.why_skipped():
        pytest.skip(reason)
    profiler = FileProfiler(BenchTarget.reach(runtime=runtime, precision=precision, threads=1), tmp_path)
    added = Shape("conv", (16, 16), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), ("Add", "Relu"))
    assert min(profiler.times([(added, (16, 16)), (added, (48, 64))])) >= LEAST_MS
    raw = Shape("conv", (16, 16), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), ("Relu",), raw=True)
    assert min(profiler.times([(raw, (3, 16)), (Shape("linear"), (64, 10))])) >= LEAST_MS
