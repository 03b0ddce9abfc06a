"""Charts of estimates: points with intervals, against a second value or one in each row."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from edgeprune.report.drawing import (
    ROW,
    TOP,
    Frame,
    Scale,
    axes,
    cut,
    dot,
    in_both_frames,
    interval,
    line,
    svg,
    text,
    text_width,
    within,
    x_ticks,
)

GAP = 8  # pixels between the end of an interval and its number
ROOMY = 6  # points that find a place in a chart of the usual height, however they lie
MOVED = "Points that would cover each other are moved apart, each with a thin line to its own height."


@dataclass(frozen=True)
class Estimate:
    """A point with an interval along x.

    Attributes:
        name: what it is of.
        x: its value.
        low: lower end of the interval.
        high: upper end.
        y: its height.
        kind: class in the page's style.
    """

    name: str
    x: float
    low: float
    high: float
    y: float
    kind: str


def heights_apart(
    spans: Sequence[tuple[float, float]],
    preferred: Sequence[float],
    fixed: Sequence[tuple[float, float, float]],
    limits: tuple[float, float],
) -> list[float]:
    """Return heights, near the preferred ones, at which spans that share a pixel in x are a row apart.

    Args:
        spans: left and right end of each, in pixels.
        preferred: height of each, in pixels.
        fixed: (left end, right end, height) of what cannot be moved.
        limits: lowest and highest pixel; where there is no room between them, a height stays as preferred.
    """
    taken = list(fixed)
    heights = list(preferred)
    for place in sorted(range(len(spans)), key=lambda n: preferred[n]):
        low, high = spans[place]
        near = [height for a, b, height in taken if low < b and a < high]
        tried = [preferred[place], *(height + side for height in near for side in (-ROW, ROW))]
        free = [
            height
            for height in tried
            if limits[0] <= height <= limits[1] and all(abs(height - other) > ROW - 1e-6 for other in near)
        ]
        heights[place] = min(free, key=lambda h: abs(h - preferred[place]), default=preferred[place])
        taken.append((low, high, heights[place]))
    return heights


@in_both_frames
def estimate_chart(
    frame: Frame,
    estimates: Sequence[Estimate],
    *,
    title: str,
    x_title: str,
    y_title: str,
    baselines: Sequence[float] = (),
) -> Markup:
    """Draw points with intervals along x, numbered from 1 in their order.

    Args:
        frame: that it is drawn in, one after the other.
        estimates: the points.
        title: what is seen, for those who cannot see it.
        x_title: of the x-axis.
        y_title: of the y-axis.
        baselines: heights of points at 1, which have no number.
    """
    unmoved = sorted(set(baselines))
    more = 2 * ROW * max(0, len(estimates) + len(unmoved) - ROOMY)
    frame = replace(frame, height=frame.height + more)
    ends = [v for e in estimates for v in (e.low, e.high)]
    x = Scale(ends, frame.left + 12, frame.right - 24, include=1.0, ticks=frame.ticks)
    y = Scale([*(e.y for e in estimates), *unmoved], frame.foot - 12, TOP + 12)
    fixed = [(x(1) - 7, x(1) + 7, y(value)) for value in unmoved]
    wide = GAP + text_width(str(len(estimates)))
    spans = [(x(e.low) - 5, x(e.high) + 5 + wide) for e in estimates]
    heights = heights_apart(spans, [y(e.y) for e in estimates], fixed, (TOP, frame.foot))
    parts = axes(frame, x, y, x_title, y_title)
    parts.append(line("one", (x(1), x(1)), (TOP, frame.foot)))
    for e, height in zip(estimates, heights, strict=True):
        if abs(height - y(e.y)) > 0.5:
            parts.append(line("leader", (x(e.x), x(e.x)), (y(e.y), height)))
    parts += [dot(x(1), y(value), "baseline", 5, f"baseline: {value:,.4g}") for value in unmoved]
    for number, (e, height) in enumerate(zip(estimates, heights, strict=True), 1):
        parts += interval(x(e.low), x(e.high), height, e.kind)
        parts.append(dot(x(e.x), height, e.kind, 5, f"{number}: {estimate_text(e)}"))
        parts.append(text(x(e.high) + GAP, height + 4, str(number), "start", "small mark"))
    return svg(frame, title, parts)


def estimate_text(estimate: Estimate) -> str:
    """Return an estimate's name, its value as a factor, and its interval."""
    e = estimate
    return f"{e.name}: {e.x:.2f}x" + ("" if e.low == e.high else f" ({e.low:.2f} to {e.high:.2f})")


def told_moved(chart: Markup, caption: str) -> str:
    """Return a caption that says so where points of the chart were moved apart."""
    return f"{caption} {MOVED}" if 'class="leader"' in chart else caption


@in_both_frames
def dot_rows(frame: Frame, rows: Sequence[Estimate], *, title: str, x_title: str) -> Markup:
    """Draw a row for each estimate, with its interval.

    Args:
        frame: that it is drawn in, one after the other.
        rows: from top to bottom; their heights are not looked at.
        title: what is seen, for those who cannot see it.
        x_title: of the x-axis.
    """
    left, pitch = frame.side, 26
    foot = TOP + pitch * len(rows)
    x = Scale([v for row in rows for v in (row.low, row.high)], left, frame.width - 40, ticks=frame.ticks)
    parts = [line("grid", (x(value), x(value)), (TOP, foot)) for value, _ in x.ticks()]
    parts += x_ticks(frame, x, foot + 16)
    for number, row in enumerate(rows):
        height = TOP + pitch * (number + 0.5)
        parts.append(text(left - 10, height + 4, cut(row.name, frame.names), "end", "small"))
        parts += interval(x(row.low), x(row.high), height, row.kind)
        parts.append(
            dot(x(row.x), height, row.kind, 5, f"{row.name}: {row.x:.2f} ({row.low:.2f} to {row.high:.2f})")
        )
    middle = within((left + frame.width) / 2, x_title, 0, frame.width)
    parts.append(text(middle, foot + 34, x_title, "middle", "small"))
    return svg(frame, title, parts, foot + 42)
