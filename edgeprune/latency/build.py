"""A latency table of a model's layers on a device; resumable, and shared by models."""

from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgeprune_target.scratch import scratch_folder

from edgeprune.bench.graph import read_graph
from edgeprune.bench.layers import timed_layers
from edgeprune.bench.options import check_writable
from edgeprune.bench.session import Progress
from edgeprune.files.locks import held_file
from edgeprune.latency.bench_target import BenchTarget
from edgeprune.latency.grid import WINDOW, Line, find_rough, find_step, first_grid, probe_widths
from edgeprune.latency.layer_models import Point
from edgeprune.latency.profiling import LayerProfiler, time_of
from edgeprune.latency.shapes import DEPTHWISE, Model, ModelLayer, Shape, read_model
from edgeprune.latency.table import ASSUMED_ON, AXES, Entry, Table

REFINEMENTS = 3  # rounds of points between points
ODD = 0.6  # of the full width: where a width between two steps is timed
FINEST = 16  # pieces that an axis is cut into at most: times bend where layers are narrow


def build_table(
    onnx_file: Path,
    site: BenchTarget,
    place: Path | None = None,
    *,
    progress: Progress = lambda done, total, text: None,  # noqa: ARG005
) -> Table:
    """Time what a model is made of, and write ``place``.

    A table that is there is added to, given the same conditions: its shapes are not timed again. That is
    also how a build that was stopped goes on.

    Args:
        onnx_file: the unpruned model.
        site: where.
        place: of the table; None for the site's usual one.
        progress: told ``(done, total, text)``, in layers of different shapes.

    Raises:
        LatencyError: the table there is of other conditions; or no layer can be timed.
        BenchError: the runner failed. InUseError: another process builds it.
    """
    place = place or site.lut
    model = read_model(onnx_file, site.batch)
    table = _begun(site, place)
    if knows(table, model):
        return table
    check_writable(place)
    with held_file(place):
        return _completed(_begun(site, place), model, onnx_file, site, place, progress)


def _begun(site: BenchTarget, place: Path) -> Table:
    """Return the table at ``place``, or an empty one."""
    if not place.exists():
        return Table(dict(site.conditions))
    table = Table.load(place)
    table.check(site.conditions)
    if ASSUMED_ON in site.conditions:
        table.conditions[ASSUMED_ON] = site.conditions[ASSUMED_ON]
    return table


def _completed(
    table: Table, model: Model, onnx_file: Path, site: BenchTarget, place: Path, progress: Progress
) -> Table:
    """Add to a table what the model needs, while this process holds the file."""
    table.created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    with scratch_folder() as folder:
        sampler = LayerProfiler(
            site.transport, site.device, site.threads, site.batch, Path(folder), table.reference_ms
        )
        fill(table, model, sampler, lambda: table.save(place), progress)
        table.others.update(times_of_others(model, table, onnx_file, sampler))
    table.save(place)
    return table


def knows(table: Table, model: Model) -> bool:
    """Whether a table has all that a model is made of."""
    layers = all(covers(table.entry(s), *most) for s, most in widest(model.layers).items())
    return layers and all(other.key in table.others for other in model.others)


def widest(layers: Sequence[ModelLayer]) -> dict[Shape, tuple[int, int]]:
    """Each shape with the most channels it has in a model."""
    found: dict[Shape, tuple[int, int]] = {}
    for layer in layers:
        a, b = found.get(layer.shape, (0, 0))
        found[layer.shape] = (max(a, layer.inputs), max(b, layer.outputs))
    return found


def fill(
    table: Table, model: Model, sampler: LayerProfiler, save: Callable[[], None], progress: Progress
) -> None:
    """Time every shape that the table does not cover yet; saved after each."""
    wanted = widest(model.layers)
    for number, (shape, (inputs, outputs)) in enumerate(wanted.items()):
        entry = table.entry(shape)
        if covers(entry, inputs, outputs):
            continue
        progress(number, len(wanted), shape.key)
        alike = next(
            (one for one in table.entries.values() if one.ms and _kind(one.shape) == _kind(shape)), None
        )
        sample(entry, inputs, outputs, sampler, alike)
        table.reference_ms = sampler.reference_ms
        save()
    progress(len(wanted), len(wanted), "layers timed")


def _kind(shape: Shape) -> tuple[Any, ...]:
    """What decides how a runtime blocks the channels of a layer."""
    return shape.op, shape.kernel, shape.dilations, shape.raw


def covers(entry: Entry, inputs: int, outputs: int) -> bool:
    """Whether a shape was timed up to these widths."""
    return any(a >= inputs for a, _ in entry.ms) and any(b >= outputs for _, b in entry.ms)


def sample(
    entry: Entry, inputs: int, outputs: int, sampler: LayerProfiler, alike: Entry | None = None
) -> None:
    """Fill an entry: the steps of either axis, then a grid as fine as the times are bent.

    Args:
        entry: of the shape.
        inputs, outputs: the widest it has.
        sampler: how layers are timed.
        alike: an entry of the same operation and kernel, whose steps are taken over: they are the runtime's
            way of blocking channels, whatever the size of the maps.
    """
    if alike is not None:
        entry.steps, entry.rough = dict(alike.steps), dict(alike.rough)
    else:
        _probe(entry, inputs, sampler)
    step = max(entry.steps.values())  # a layer's inputs come in the steps of those that write them
    lines = []
    for _, full in _axes(entry, inputs, outputs):
        coarse = step * max(1, round(full / FINEST / step))
        lines.append(Line(first_grid(full, coarse), coarse))
    found: dict[Point, float] = {}
    most = (inputs, outputs)
    for _ in range(REFINEMENTS):
        wanted = {_at(entry.shape, axis, w, most) for axis, line in enumerate(lines) for w in line.wanted()}
        wanted -= found.keys()
        if wanted:
            found.update(sampler.times(entry.shape, sorted(wanted)))
        for axis, line in enumerate(lines):
            line.take({w: found[_at(entry.shape, axis, w, most)] for w in line.wanted()})
        if not any(line.wanted() for line in lines):
            break
    if entry.shape.op != DEPTHWISE:
        ins = [inputs] if entry.shape.raw else sorted(lines[0].times)
        outs = sorted(lines[-1].times)
        missing = {(a, b) for a in ins for b in outs} - found.keys()
        between = _odd_points(entry, most)
        times = sampler.times(entry.shape, sorted(missing | set(between)))
        found.update({point: times[point] for point in missing})
        entry.ms.update(found)
        for point, where in between.items():
            risen = [
                width if width == full else _risen(width, entry.steps[side])
                for side, width, full in zip(AXES, point, most, strict=True)
            ]
            entry.rough[where] = max(1.0, times[point] / entry.at(*risen))
    entry.ms.update(found)


def _risen(width: int, step: int) -> int:
    """The next multiple of a step."""
    return -(-width // step) * step


def _odd_points(entry: Entry, most: tuple[int, int]) -> dict[Point, str]:
    """A width between two steps on either axis and on both: what that costs depends on the layer's size."""
    odd = [
        _risen(round(ODD * full), step) - step // 2 + 1 if step > 1 and full > step else None
        for step, full in zip(entry.steps.values(), most, strict=True)
    ]
    a, b = odd
    found: dict[Point, str] = {}
    if a is not None and not entry.shape.raw:
        found[a, most[1]] = "inputs"
    if b is not None:
        found[most[0], b] = "outputs"
    if a is not None and b is not None and not entry.shape.raw:
        found[a, b] = "both"
    return found


def _axes(entry: Entry, inputs: int, outputs: int) -> list[tuple[str, int]]:
    """The axes that can be varied: the network's input is what it is, and a depthwise layer has one."""
    one = entry.shape.op == DEPTHWISE or entry.shape.raw
    return [("outputs", outputs)] if one else [("inputs", inputs), ("outputs", outputs)]


def _at(shape: Shape, axis: int, width: int, others: tuple[int, int]) -> Point:
    """The point at a width of one axis."""
    if shape.op == DEPTHWISE:
        return width, width
    return (width, others[1]) if axis == 0 and not shape.raw else (others[0], width)


def _probe(entry: Entry, inputs: int, sampler: LayerProfiler) -> None:
    """Step and roughness along each axis, in one file."""
    wide = (inputs if entry.shape.raw else WINDOW, WINDOW)
    axes = [axis for axis, _ in _axes(entry, *wide)]
    lines = [{w: _at(entry.shape, axis, w, wide) for w in probe_widths()} for axis in range(len(axes))]
    odd = WINDOW // 2 - 3
    points = {point for line in lines for point in line.values()} | (
        {(odd, odd)} if len(axes) == 2 else set()
    )
    found = sampler.times(entry.shape, sorted(points))
    for axis, line in zip(axes, lines, strict=True):
        times = {w: found[point] for w, point in line.items()}
        entry.steps[axis] = find_step(times)
        entry.rough[axis] = find_rough(times, entry.steps[axis])
    if len(axes) == 2:
        a, b = (_risen(odd, entry.steps[axis]) for axis in AXES)
        top = (min(a, WINDOW), min(b, WINDOW))
        entry.rough["both"] = max(1.0, found[odd, odd] / sampler.times(entry.shape, [top])[top])
    elif entry.shape.op == DEPTHWISE:
        entry.steps["inputs"], entry.rough["inputs"] = entry.steps["outputs"], entry.rough["outputs"]
        entry.rough["both"] = entry.rough["outputs"]


def times_of_others(model: Model, table: Table, onnx_file: Path, sampler: LayerProfiler) -> dict[str, float]:
    """Operation and size -> ms for each channel, of what is no layer, from the model's own run.

    That file has no reference layer: it is scaled by what its layers take in it and by the table.
    """
    parts = timed_layers(sampler.passes(onnx_file, seconds=1.0), read_graph(onnx_file))
    names = {layer.name for layer in model.layers}
    run = sum(time_of(parts, layer.name, layer.shape) for layer in model.layers)
    scale = sum(table.entry(one.shape).at(one.inputs, one.outputs) for one in model.layers) / run
    ms: dict[str, float] = {}
    channels: dict[str, int] = {}
    for other in model.others:
        # What the runtime folded into a layer, and this does not know of, counts with that layer.
        mine = [part for part in parts if other.label in part.nodes and not part.nodes & names]
        if mine:
            took = scale * sum(min(part.ms) / len(part.nodes) for part in mine)
            ms[other.key] = ms.get(other.key, 0.0) + took
            channels[other.key] = channels.get(other.key, 0) + other.channels
    return {other.key: ms.get(other.key, 0.0) / channels.get(other.key, 1) for other in model.others}
