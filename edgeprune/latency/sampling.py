"""Ask for the points of a layer that a table needs: its steps first, then a grid that is finest where times bend."""

from collections.abc import Generator

from edgeprune.latency.grid import (
    ODD_WIDTH,
    WINDOW,
    Line,
    Sampling,
    find_misalignment_penalty,
    find_step,
    first_grid,
)
from edgeprune.latency.layer_models import Point
from edgeprune.latency.shapes import DEPTHWISE, Shape
from edgeprune.latency.table import AXES, Entry

ODD = 0.6  # of the full width: where a width between two steps is timed

# Yields the points that are wanted next, and is sent their times: many layers are then timed by one file.
Questions = Generator[list[Point], dict[Point, float], None]


def sample(entry: Entry, inputs: int, outputs: int, sampling: Sampling) -> Questions:
    """Fill an entry whose steps are known with the times of a grid that is finest where they bend.

    Args:
        entry: of the shape.
        inputs: the largest number of input channels.
        outputs: the largest number of output channels.
        sampling: how many points it is worth.

    Yields:
        The points that are wanted next.
    """
    step = max(entry.steps.values())  # a layer's inputs have the step of the layer that writes them
    lines = []
    for _, full in _axes(entry, inputs, outputs):
        coarse = step * max(1, round(full / sampling.finest / step))
        lines.append(Line(first_grid(full, coarse), coarse))
    measured: dict[Point, float] = {}
    most = (inputs, outputs)
    for _ in range(sampling.refinements):
        points = {_at(entry.shape, axis, w, most) for axis, line in enumerate(lines) for w in line.pending()}
        points -= measured.keys()
        if points:
            measured.update((yield sorted(points)))
        for axis, line in enumerate(lines):
            line.take({w: measured[_at(entry.shape, axis, w, most)] for w in line.pending()})
        if not any(line.pending() for line in lines):
            break
    if entry.shape.op != DEPTHWISE:
        ins = [inputs] if entry.shape.raw else sorted(lines[0].times)
        outs = sorted(lines[-1].times)
        missing = {(a, b) for a in ins for b in outs} - measured.keys()
        between = _odd_points(entry, most)
        times = yield sorted(missing | set(between))
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


def probe(entry: Entry, inputs: int, sampling: Sampling) -> Questions:
    """Find step and misalignment penalty along each axis.

    Args:
        entry: of the shape.
        inputs: channels of the network's input, for a layer that reads it.
        sampling: how many points it is worth.

    Yields:
        The points that are wanted next.
    """
    wide = (inputs if entry.shape.raw else WINDOW, WINDOW)
    axes = [axis for axis, _ in _axes(entry, *wide)]
    lines = [{w: _at(entry.shape, axis, w, wide) for w in sampling.probes} for axis in range(len(axes))]
    odd = ODD_WIDTH
    points = {point for line in lines for point in line.values()} | (
        {(odd, odd)} if len(axes) == 2 else set()
    )
    measured = yield sorted(points)
    for axis, line in zip(axes, lines, strict=True):
        times = {w: measured[point] for w, point in line.items()}
        entry.steps[axis] = find_step(times)
        entry.misalignment_penalty[axis] = find_misalignment_penalty(times, entry.steps[axis])
    if len(axes) == 2:
        a, b = (_round_up(odd, entry.steps[axis]) for axis in AXES)
        top = (min(a, WINDOW), min(b, WINDOW))
        at_top = (yield [top])[top]
        entry.misalignment_penalty["both"] = max(1.0, measured[odd, odd] / at_top)
    elif entry.shape.op == DEPTHWISE:
        entry.steps["inputs"], entry.misalignment_penalty["inputs"] = (
            entry.steps["outputs"],
            entry.misalignment_penalty["outputs"],
        )
        entry.misalignment_penalty["both"] = entry.misalignment_penalty["outputs"]
