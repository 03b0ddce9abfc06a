"""Build the latency table of a model's layers on a device; resumable, and shared by models."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgeprune_target.scratch import scratch_folder

from edgeprune.backends.onnx import Onnx
from edgeprune.backends.onnx_int8 import OnnxInt8
from edgeprune.bench.options import check_writable
from edgeprune.files.locks import held_file
from edgeprune.latency.bench_target import BenchTarget
from edgeprune.latency.file_profiling import FileProfiler
from edgeprune.latency.layer_models import Point
from edgeprune.latency.profiling import LayerProfiler, ModelFiles, Profiler, layers_of
from edgeprune.latency.sampling import Questions, probe, sample
from edgeprune.latency.shapes import CONVERSIONS, DEPTHWISE, QUANTIZE, Model, ModelLayer, Shape, read_model
from edgeprune.latency.table import ASSUMED_ON, Entry, Table
from edgeprune.latency.wiring import read_wiring
from edgeprune.processes.progress import ProgressCallback, no_progress


def build_table(
    onnx_file: Path,
    bench_target: BenchTarget,
    place: Path | None = None,
    *,
    measured_file: Callable[[], Path] | None = None,
    progress: ProgressCallback = no_progress,
) -> Table:
    """Time the layers of a model, and write the table to ``place``.

    An existing table of the same conditions is extended: its shapes are not timed again. An interrupted build
    continues in the same way, with what was timed of the shapes that it was at.

    Args:
        onnx_file: the unpruned model.
        bench_target: where to measure.
        place: of the table; None for the usual one of ``bench_target``.
        measured_file: returns the model's file that the runtime loads; None where that is ``onnx_file``.
        progress: called with ``(done, total, text)``, in layers of different shapes.

    Raises:
        LatencyError: the table there is of other conditions, or no layer can be timed.
        BenchError: the runner failed.
        InUseError: another process builds it.
    """
    place = place or bench_target.lut
    model = read_model(onnx_file, bench_target.batch)
    table = _begun(bench_target, place)
    if knows(table, model):
        return table
    check_writable(place)
    with held_file(place):
        files = ModelFiles(onnx_file, measured_file or (lambda: onnx_file))
        return _completed(_begun(bench_target, place), model, files, bench_target, place, progress)


def _begun(bench_target: BenchTarget, place: Path) -> Table:
    """Return the table at ``place``, or an empty one."""
    if not place.exists():
        return Table(dict(bench_target.conditions))
    table = Table.load(place)
    table.check(bench_target.conditions)
    if ASSUMED_ON in bench_target.conditions:
        table.conditions[ASSUMED_ON] = bench_target.conditions[ASSUMED_ON]
    return table


def _completed(
    table: Table,
    model: Model,
    files: ModelFiles,
    bench_target: BenchTarget,
    place: Path,
    progress: ProgressCallback,
) -> Table:
    """Add to a table what the model needs, while this process holds the file."""
    table.created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    with scratch_folder() as folder:
        profiler = _profiler(bench_target, Path(folder), table.reference_ms)
        fill(table, model, profiler, lambda: table.save(place), progress)
        table.others.update(profiler.others(model, table, files))
    table.save(place)
    return table


def _profiler(bench_target: BenchTarget, folder: Path, reference_ms: float | None) -> Profiler:
    """Return what times layers there: from one file of many, or a file of each."""
    if bench_target.backend.name not in (Onnx.name, OnnxInt8.name):
        return FileProfiler(bench_target, folder, reference_ms)
    return _layer_profiler(bench_target, folder, reference_ms)


def _layer_profiler(bench_target: BenchTarget, folder: Path, reference_ms: float | None) -> LayerProfiler:
    where = bench_target
    return LayerProfiler(
        where.transport, where.device, where.threads, where.batch, folder, reference_ms, where.backend.numbers
    )


def add_conversions(
    onnx_file: Path, bench_target: BenchTarget, place: Path, progress: ProgressCallback = no_progress
) -> Table:
    """Add to an int8 table of ONNX Runtime what conversions of a model's maps take; return it.

    Args:
        onnx_file: the unpruned model in float32.
        bench_target: where to measure, in int8.
        place: of the table, which has the model's layers.
        progress: called with ``(done, total, text)``, in maps of different sizes.

    Raises:
        LatencyError, BenchError: they cannot be timed.
        InUseError: another process builds it.
    """
    widths: dict[tuple[int, ...], int] = {}
    for read in read_wiring(onnx_file, bench_target.batch).reads:
        widths[read.size] = max(widths.get(read.size, 0), read.channels)
    with held_file(place), scratch_folder() as folder:
        table = Table.load(place)
        missing = {
            size: most
            for size, most in widths.items()
            if not covers(table.entry(Shape(QUANTIZE, size)), most, most)
        }
        profiler = _layer_profiler(bench_target, Path(folder), table.reference_ms)
        for done, (size, most) in enumerate(missing.items()):
            progress(done, len(missing), Shape(QUANTIZE, size).key)
            points = sorted({max(1, most // 4), most})
            for channels, both in zip(points, profiler.conversions(size, points), strict=True):
                for op, ms in zip(CONVERSIONS, both, strict=True):
                    table.entry(Shape(op, size)).ms[channels, channels] = ms
            table.save(place)
    return table


def knows(table: Table, model: Model) -> bool:
    """Return whether a table covers everything in a model."""
    layers = all(covers(table.entry(s), *most) for s, most in widest(model.layers).items())
    return layers and all(other.key in table.others for other in model.others)


def widest(layers: Sequence[ModelLayer]) -> dict[Shape, tuple[int, int]]:
    """Return each shape with the largest numbers of channels that it has in a model."""
    most_channels: dict[Shape, tuple[int, int]] = {}
    for layer in layers:
        a, b = most_channels.get(layer.shape, (0, 0))
        most_channels[layer.shape] = (max(a, layer.inputs), max(b, layer.outputs))
    return most_channels


def fill(
    table: Table, model: Model, profiler: Profiler, save: Callable[[], None], progress: ProgressCallback
) -> None:
    """Time every shape that the table does not cover yet, some together.

    Args:
        table: filled in.
        model: the layers of an ONNX file.
        profiler: times layers.
        save: called whenever some were timed.
        progress: called with ``(done, total, text)``.
    """
    widest_of = widest(model.layers)
    missing = {shape: most for shape, most in widest_of.items() if not covers(table.entry(shape), *most)}
    shapes, known = list(missing), len(widest_of) - len(missing)
    count = profiler.sampling.together
    timing = _Timing(table, profiler, save)
    for start in range(0, len(shapes), count):
        together = shapes[start : start + count]
        report = _Progress(progress, known + start, len(together), len(widest_of))
        _find_steps({shape: missing[shape] for shape in together}, timing, report)
        entries = {shape: table.entry(shape) for shape in together}
        asking = {
            shape: sample(entry, *missing[shape], profiler.sampling) for shape, entry in entries.items()
        }
        timing.answer(asking, report)
        for shape in together:
            table.begun.pop(shape, None)
        save()
    progress(len(widest_of), len(widest_of), "layers timed")


@dataclass
class _Progress:
    """Reports rounds of questions about some shapes as a part of all shapes."""

    progress: ProgressCallback
    before: int
    count: int
    total: int
    rounds: int = 0

    def __call__(self, shape: Shape) -> None:
        """Report another round, in which this shape is the first that is timed."""
        done = self.before + self.count * self.rounds / (self.rounds + 2)
        self.progress(done, self.total, f"timing {shape.key}")
        self.rounds += 1


@dataclass
class _Timing:
    """Times what the entries of a table ask for, and keeps each answer in the table at once."""

    table: Table
    profiler: Profiler
    save: Callable[[], None]

    def answer(self, questions: Mapping[Shape, Questions], report: Callable[[Shape], None]) -> None:
        """Time what some entries ask for, until they know enough; what the table has begun is not timed again."""
        left, requests = dict(questions), {shape: next(asking) for shape, asking in questions.items()}
        while left:
            report(next(iter(left)))
            self._time(requests)
            for shape in [*left]:
                known = self.table.begun[shape]
                try:
                    requests[shape] = left[shape].send({point: known[point] for point in requests[shape]})
                except StopIteration:
                    del left[shape], requests[shape]

    def _time(self, requests: Mapping[Shape, Sequence[Point]]) -> None:
        """Time the points that the table has not begun, and save it after each chunk."""
        begun = self.table.begun
        missing = {
            shape: [point for point in points if point not in begun.setdefault(shape, {})]
            for shape, points in requests.items()
        }
        for chunk in self.profiler.chunks(layers_of(missing)):
            for (shape, point), ms in zip(chunk, self.profiler.times(chunk), strict=True):
                begun[shape][point] = ms
            self.table.reference_ms = self.profiler.reference_ms
            self.save()


def _find_steps(
    most_channels: Mapping[Shape, tuple[int, int]], timing: _Timing, report: Callable[[Shape], None]
) -> None:
    """Let entries know their steps: of the same operation and kernel they are the same, whatever the maps' size.

    They are the runtime's way of blocking channels.
    """
    table, sampling = timing.table, timing.profiler.sampling
    by_kernel = sampling.by_kernel
    first_of: dict[tuple[Any, ...], Entry] = {
        _kind(entry.shape, by_kernel): entry
        for entry in reversed(table.entries.values())
        if entry.ms and entry.shape.op not in CONVERSIONS
    }
    new: dict[Shape, Questions] = {}
    for shape, (inputs, _) in most_channels.items():
        if _kind(shape, by_kernel) not in first_of:
            first_of[_kind(shape, by_kernel)] = table.entry(shape)
            new[shape] = probe(table.entry(shape), inputs, sampling)
    timing.answer(new, report)
    for shape in most_channels:
        entry, first = table.entry(shape), first_of[_kind(shape, by_kernel)]
        entry.steps, entry.misalignment_penalty = dict(first.steps), dict(first.misalignment_penalty)


def _kind(shape: Shape, by_kernel: bool) -> tuple[Any, ...]:
    """Return what decides how a runtime blocks the channels of a layer.

    Args:
        shape: of the layer.
        by_kernel: False where matrix products do for all but depthwise convolutions.
    """
    if not by_kernel:
        return shape.op == DEPTHWISE, shape.raw
    return shape.op, shape.kernel, shape.dilations, shape.raw


def covers(entry: Entry, inputs: int, outputs: int) -> bool:
    """Return whether a shape was timed up to these widths.

    Args:
        entry: of the shape.
        inputs: channels.
        outputs: channels.
    """
    return any(a >= inputs for a, _ in entry.ms) and any(b >= outputs for _, b in entry.ms)
