"""Build the latency table of a model's layers on a device; resumable, and shared by models."""

from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgeprune_target.scratch import scratch_folder

from edgeprune.backends.onnx import Onnx
from edgeprune.bench.options import check_writable
from edgeprune.files.locks import held_file
from edgeprune.latency.bench_target import BenchTarget
from edgeprune.latency.file_profiling import FileProfiler
from edgeprune.latency.grid import (
    ODD_WIDTH,
    WINDOW,
    Line,
    find_misalignment_penalty,
    find_step,
    first_grid,
)
from edgeprune.latency.layer_models import Point
from edgeprune.latency.profiling import LayerProfiler, ModelFiles, Profiler
from edgeprune.latency.shapes import DEPTHWISE, Model, ModelLayer, Shape, read_model
from edgeprune.latency.table import ASSUMED_ON, AXES, Entry, Table
from edgeprune.processes.progress import ProgressCallback, no_progress

ODD = 0.6  # of the full width: where a width between two steps is timed


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
    continues in the same way.

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
    if bench_target.backend.name != Onnx.name:
        return FileProfiler(bench_target, folder, reference_ms)
    return LayerProfiler(
        bench_target.transport,
        bench_target.device,
        bench_target.threads,
        bench_target.batch,
        folder,
        reference_ms,
    )


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
    """Time every shape that the table does not cover yet.

    Args:
        table: filled in.
        model: the layers of an ONNX file.
        profiler: times layers.
        save: called after each shape.
        progress: called with ``(done, total, text)``.
    """
    widest_of = widest(model.layers)
    for number, (shape, (inputs, outputs)) in enumerate(widest_of.items()):
        entry = table.entry(shape)
        if covers(entry, inputs, outputs):
            continue
        progress(number, len(widest_of), shape.key)
        sibling = next(
            (other for other in table.entries.values() if other.ms and _kind(other.shape) == _kind(shape)),
            None,
        )
        sample(entry, inputs, outputs, profiler, sibling)
        table.reference_ms = profiler.reference_ms
        save()
    progress(len(widest_of), len(widest_of), "layers timed")


def _kind(shape: Shape) -> tuple[Any, ...]:
    """Return what decides how a runtime blocks the channels of a layer."""
    return shape.op, shape.kernel, shape.dilations, shape.raw


def covers(entry: Entry, inputs: int, outputs: int) -> bool:
    """Return whether a shape was timed up to these widths.

    Args:
        entry: of the shape.
        inputs: channels.
        outputs: channels.
    """
    return any(a >= inputs for a, _ in entry.ms) and any(b >= outputs for _, b in entry.ms)


def sample(entry: Entry, inputs: int, outputs: int, profiler: Profiler, sibling: Entry | None = None) -> None:
    """Fill an entry: find the steps of either axis, then time a grid that is finest where times bend.

    Args:
        entry: of the shape.
        inputs: the largest number of input channels.
        outputs: the largest number of output channels.
        profiler: times layers.
        sibling: an entry of the same operation and kernel, whose steps are reused: they are the runtime's way
            of blocking channels, whatever the size of the maps.
    """
    if sibling is not None:
        entry.steps, entry.misalignment_penalty = dict(sibling.steps), dict(sibling.misalignment_penalty)
    else:
        _probe(entry, inputs, profiler)
    step = max(entry.steps.values())  # a layer's inputs have the step of the layer that writes them
    lines = []
    for _, full in _axes(entry, inputs, outputs):
        coarse = step * max(1, round(full / profiler.sampling.finest / step))
        lines.append(Line(first_grid(full, coarse), coarse))
    measured: dict[Point, float] = {}
    most = (inputs, outputs)
    for _ in range(profiler.sampling.refinements):
        points = {_at(entry.shape, axis, w, most) for axis, line in enumerate(lines) for w in line.pending()}
        points -= measured.keys()
        if points:
            measured.update(profiler.times(entry.shape, sorted(points)))
        for axis, line in enumerate(lines):
            line.take({w: measured[_at(entry.shape, axis, w, most)] for w in line.pending()})
        if not any(line.pending() for line in lines):
            break
    if entry.shape.op != DEPTHWISE:
        ins = [inputs] if entry.shape.raw else sorted(lines[0].times)
        outs = sorted(lines[-1].times)
        missing = {(a, b) for a in ins for b in outs} - measured.keys()
        between = _odd_points(entry, most)
        times = profiler.times(entry.shape, sorted(missing | set(between)))
        measured.update({point: times[point] for point in missing})
        entry.ms.update(measured)
        for point, where in between.items():
            rounded_up = [
                width if width == full else _round_up(width, entry.steps[side])
                for side, width, full in zip(AXES, point, most, strict=True)
            ]
            entry.misalignment_penalty[where] = max(1.0, times[point] / entry.at(*rounded_up))
    entry.ms.update(measured)


def _round_up(width: int, step: int) -> int:
    """Return the next multiple of a step."""
    return -(-width // step) * step


def _odd_points(entry: Entry, most: tuple[int, int]) -> dict[Point, str]:
    """Return a width between two steps on either axis and on both: its cost depends on the layer's size."""
    odd = [
        _round_up(round(ODD * full), step) - step // 2 + 1 if step > 1 and full > step else None
        for step, full in zip(entry.steps.values(), most, strict=True)
    ]
    a, b = odd
    places: dict[Point, str] = {}
    if a is not None and not entry.shape.raw:
        places[a, most[1]] = "inputs"
    if b is not None:
        places[most[0], b] = "outputs"
    if a is not None and b is not None and not entry.shape.raw:
        places[a, b] = "both"
    return places


def _axes(entry: Entry, inputs: int, outputs: int) -> list[tuple[str, int]]:
    """Return the axes that vary: the network's input is fixed, and a depthwise layer has a single width."""
    single = entry.shape.op == DEPTHWISE or entry.shape.raw
    return [("outputs", outputs)] if single else [("inputs", inputs), ("outputs", outputs)]


def _at(shape: Shape, axis: int, width: int, others: tuple[int, int]) -> Point:
    """Return the point at a width of one axis."""
    if shape.op == DEPTHWISE:
        return width, width
    return (width, others[1]) if axis == 0 and not shape.raw else (others[0], width)


def _probe(entry: Entry, inputs: int, profiler: Profiler) -> None:
    """Find step and misalignment penalty along each axis, from one file."""
    wide = (inputs if entry.shape.raw else WINDOW, WINDOW)
    axes = [axis for axis, _ in _axes(entry, *wide)]
    lines = [
        {w: _at(entry.shape, axis, w, wide) for w in profiler.sampling.probes} for axis in range(len(axes))
    ]
    odd = ODD_WIDTH
    points = {point for line in lines for point in line.values()} | (
        {(odd, odd)} if len(axes) == 2 else set()
    )
    measured = profiler.times(entry.shape, sorted(points))
    for axis, line in zip(axes, lines, strict=True):
        times = {w: measured[point] for w, point in line.items()}
        entry.steps[axis] = find_step(times)
        entry.misalignment_penalty[axis] = find_misalignment_penalty(times, entry.steps[axis])
    if len(axes) == 2:
        a, b = (_round_up(odd, entry.steps[axis]) for axis in AXES)
        top = (min(a, WINDOW), min(b, WINDOW))
        entry.misalignment_penalty["both"] = max(
            1.0, measured[odd, odd] / profiler.times(entry.shape, [top])[top]
        )
    elif entry.shape.op == DEPTHWISE:
        entry.steps["inputs"], entry.misalignment_penalty["inputs"] = (
            entry.steps["outputs"],
            entry.misalignment_penalty["outputs"],
        )
        entry.misalignment_penalty["both"] = entry.misalignment_penalty["outputs"]
