"""Draw charts as SVG that is put into a page: colours come from the page's style, numbers can be read by pointing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from edgeprune.report.drawing import (
    LETTER,
    ROW,
    TOP,
    Frame,
    Scale,
    axes,
    cut,
    dot,
    first_rows,
    in_both_frames,
    line,
    svg,
    text,
    text_width,
    tip,
    within,
    y_axis,
)
from edgeprune.reporting.rows import percent

COS_50 = 0.643  # of the angle by which the names of columns are turned
COLUMN = 15  # pixels of a column that has room for its name, which is turned
ROUND = 20  # pixels of a round that has room for its number
POINTED = 400  # points of a line that can be pointed at; more make a page slow


@dataclass(frozen=True)
class Series:
    """A line.

    Attributes:
        name: in the legend.
        points: (x, y), in order.
        kind: class in the page's style, which gives the colour.
    """

    name: str
    points: Sequence[tuple[float, float]]
    kind: str


@dataclass(frozen=True)
class Band:
    """A part of the x-axis with a name, such as a stage of training."""

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class Spread:
    """A distribution in short: its 10th, 50th and 90th percentile."""

    low: float
    middle: float
    high: float


@in_both_frames
def line_chart(
    frame: Frame,
    series: Sequence[Series],
    *,
    title: str,
    x_title: str,
    y_title: str,
    bands: Sequence[Band] = (),
) -> Markup:
    """Draw lines, with the parts of the x-axis named.

    Args:
        frame: that it is drawn in, one after the other.
        series: the lines.
        title: what is seen, for those who cannot see it.
        x_title: of the x-axis.
        y_title: of the y-axis.
        bands: parts of the x-axis.
    """
    points = [point for curve in series for point in curve.points]
    ends = [p[0] for p in points] + [b.end for b in bands]
    x = Scale(ends, frame.left, frame.right, include=0.0, ticks=frame.ticks)
    middles = [within((x(b.start) + x(b.end)) / 2, b.name, frame.left, frame.width) for b in bands]
    halves = [text_width(band.name) / 2 for band in bands]
    rows = first_rows([(middle - half, middle + half) for middle, half in zip(middles, halves, strict=True)])
    top = TOP + ROW * max(rows, default=0)
    y = Scale([p[1] for p in points], frame.foot, top)
    parts = []
    for number, (band, middle, row) in enumerate(zip(bands, middles, rows, strict=True)):
        left, right = x(band.start), x(band.end)
        parts.append(
            f'<rect class="band{number % 2}" x="{left:.1f}" y="{top}" width="{max(0.0, right - left):.1f}" '
            f'height="{frame.foot - top}"/>'
        )
        parts.append(text(middle, top - 3 - ROW * row, band.name, "middle", "small"))
    parts += axes(frame, x, y, x_title, y_title)
    for curve in series:
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in curve.points)
        parts.append(f'<polyline class="line {curve.kind}" points="{path}"/>')
        for a, b in curve.points if len(curve.points) <= POINTED else ():
            parts.append(dot(x(a), y(b), curve.kind, 2.5, f"{curve.name}: {b:,.4g} at {a:,.0f}"))
    return svg(frame, title, parts)


@in_both_frames
def width_chart(
    frame: Frame, names: Sequence[str], before: Sequence[int], after: Sequence[int], *, title: str
) -> Markup:
    """Draw a column for each group of channels along the network: its width before, filled up to its width after.

    Args:
        frame: that it is drawn in, one after the other.
        names: of the groups.
        before: channels of each.
        after: channels that are kept.
        title: what is seen, for those who cannot see it.
    """
    pitch = (frame.right - frame.left) / max(1, len(names))
    labelled = pitch >= COLUMN
    height = frame.foot + (118 if labelled else 30)
    y = Scale(before, frame.foot, TOP, include=0.0)
    bar = max(1.0, pitch * 0.72)
    parts = y_axis(frame, y, "channels")
    for number, (name, old, new) in enumerate(zip(names, before, after, strict=True)):
        left = frame.left + pitch * number + (pitch - bar) / 2
        about = tip(f"{name}: {old} to {new} ({percent(new / old, 0)})")
        for value, kind in ((old, "baseline faint"), (new, "pruned")):
            parts.append(
                f'<rect class="bar {kind}" x="{left:.1f}" y="{y(value):.1f}" width="{bar:.1f}" '
                f'height="{y(0) - y(value):.1f}">{about}</rect>'
            )
        if labelled:
            middle, foot_y = left + bar / 2 + 4, frame.foot + 12
            fits = int(middle / (LETTER * COS_50))  # the first names reach to the left edge
            turn = f'transform="rotate(-50 {middle:.1f} {foot_y})"'
            parts.append(text(middle, foot_y, cut(name, min(22, fits)), "end", "small", turn))
    if not labelled:
        about = "groups of channels, along the network"
        middle = within((frame.left + frame.right) / 2, about, 0, frame.width)
        parts.append(text(middle, height - 8, about, "middle", "small"))
    return svg(frame, title, parts, height)


@in_both_frames
def rounds_chart(frame: Frame, rounds: Mapping[str, Sequence[Spread]], *, title: str, y_title: str) -> Markup:
    """Draw each round of each model: from the 10th to the 90th percentile, with the median.

    Args:
        frame: that it is drawn in, one after the other.
        rounds: a distribution for each round, by the model's name.
        title: what is seen, for those who cannot see it.
        y_title: of the y-axis.
    """
    count = max((len(spreads) for spreads in rounds.values()), default=0)
    values = [v for spreads in rounds.values() for s in spreads for v in (s.low, s.high)]
    y = Scale(values, frame.foot, TOP, include=0.0)
    pitch = (frame.right - frame.left) / max(1, count)
    parts = y_axis(frame, y, y_title)
    shift = min(9.0, pitch / 4)
    for place, (name, spreads) in enumerate(rounds.items()):
        aside = (place - (len(rounds) - 1) / 2) * 2 * shift
        for number, spread in enumerate(spreads):
            middle = frame.left + pitch * (number + 0.5) + aside
            about = f"{name}, round {number + 1}: {spread.middle:.3g} ({spread.low:.3g} to {spread.high:.3g})"
            parts.append(line(f"wide {name}", (middle, middle), (y(spread.low), y(spread.high)), about))
            parts.append(dot(middle, y(spread.middle), name, 4, about))
    for number in range(count):
        if pitch >= ROUND or number % 10 == 9:
            middle = frame.left + pitch * (number + 0.5)
            parts.append(text(middle, frame.foot + 18, str(number + 1), "middle", "small"))
    middle = (frame.left + frame.right) / 2
    parts.append(text(middle, frame.height - 8, "round", "middle", "small"))
    return svg(frame, title, parts)


@in_both_frames
def histogram(
    frame: Frame, samples: Mapping[str, Sequence[float]], *, title: str, x_title: str, bins: int = 48
) -> Markup:
    """Draw how often each value occurred, by model; the slowest percent is left out.

    Args:
        frame: that it is drawn in, one after the other.
        samples: values by the model's name.
        title: what is seen, for those who cannot see it.
        x_title: of the x-axis.
        bins: columns.
    """
    ordered = {name: sorted(values) for name, values in samples.items() if len(values)}
    low = min((values[0] for values in ordered.values()), default=0.0)
    high = max((values[int(0.99 * (len(values) - 1))] for values in ordered.values()), default=1.0)
    x = Scale([low, high], frame.left, frame.right, ticks=frame.ticks)
    size = (x.high - x.low) / bins
    shares = {}
    for name, values in ordered.items():
        counts = [0] * bins
        for value in values:
            if value <= x.high:
                counts[min(bins - 1, int((value - x.low) / size))] += 1
        shares[name] = [100 * count / len(values) for count in counts]
    y = Scale([v for share in shares.values() for v in share], frame.foot, TOP, include=0.0)
    parts = axes(frame, x, y, x_title, "% of inferences")
    for name, share in shares.items():
        corners = [(x.low, 0.0)]
        for number, value in enumerate(share):
            corners += [(x.low + number * size, value), (x.low + (number + 1) * size, value)]
        corners.append((x.high, 0.0))
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in corners)
        parts.append(f'<polygon class="area {name}" points="{path}"/>')
    return svg(frame, title, parts)


@in_both_frames
def pair_bars(
    frame: Frame, rows: Sequence[tuple[str, float | None, float | None]], *, title: str, unit: str
) -> Markup:
    """Draw two bars for each row, of the baseline and of the pruned model.

    Args:
        frame: that it is drawn in, one after the other.
        rows: (name, value of the baseline, value of the pruned model); None where there is none.
        title: what is seen, for those who cannot see it.
        unit: of the values.
    """
    left, row = frame.side, 30
    height = TOP + row * len(rows) + 30
    x = Scale([v for _, a, b in rows for v in (a, b) if v is not None], left, frame.width - 60, include=0.0)
    parts = []
    for number, (name, *values) in enumerate(rows):
        top = TOP + row * number
        parts.append(text(left - 8, top + 17, cut(name, frame.names), "end", "small"))
        for place, (value, kind) in enumerate(zip(values, ("baseline", "pruned"), strict=True)):
            if value is None:
                continue
            size = f'width="{max(0.5, x(value) - left):.1f}" height="11"'
            about = tip(f"{name}, {kind}: {value:.4g} {unit}")
            parts.append(
                f'<rect class="bar {kind}" x="{left}" y="{top + 3 + 12 * place}" {size}>{about}</rect>'
            )
            parts.append(text(x(value) + 4, top + 13 + 12 * place, f"{value:.3g}", "start", "tiny"))
    parts.append(text(left, height - 8, unit, "start", "small"))
    return svg(frame, title, parts, height)


@dataclass(frozen=True)
class Cell:
    """A field of a heat map.

    Attributes:
        text: in it.
        weight: 0 for what leaves the field empty, to 1 for the strongest colour.
        tip: what pointing at it shows.
    """

    text: str
    weight: float
    tip: str


@in_both_frames
def heat_map(
    frame: Frame, rows: Sequence[tuple[str, Sequence[Cell]]], columns: Sequence[str], *, title: str
) -> Markup:
    """Draw a field for each row and column, the stronger the more it weighs.

    Args:
        frame: that it is drawn in, one after the other.
        rows: (name, its fields) from top to bottom.
        columns: their names.
        title: what is seen, for those who cannot see it.
    """
    left, height = frame.side, 22
    pitch = (frame.right - left) / max(1, len(columns))
    heads = [_lines(name, pitch) for name in columns]
    head = TOP + ROW * (max((len(lines) for lines in heads), default=1) - 1)
    parts = []
    for number, lines in enumerate(heads):
        for above, words in enumerate(reversed(lines)):
            middle = left + pitch * (number + 0.5)
            parts.append(text(middle, head - 5 - ROW * above, words, "middle", "small"))
    for place, (name, cells) in enumerate(rows):
        top = head + height * place
        parts.append(text(left - 8, top + 15, cut(name, frame.names), "end", "small"))
        for number, cell in enumerate(cells):
            x, opacity = left + pitch * number, 0.85 * min(1.0, max(0.0, cell.weight))
            size = f'width="{pitch - 2:.1f}" height="{height - 2}"'
            parts.append(
                f'<rect class="heat" x="{x:.1f}" y="{top}" {size} fill-opacity="{opacity:.3f}">{tip(cell.tip)}</rect>'
            )
            parts.append(text(x + pitch / 2 - 1, top + 15, cell.text, "middle", "small strong"))
    return svg(frame, title, parts, head + height * len(rows) + 8)


def _lines(words: str, width: float) -> list[str]:
    """Return a text in lines that are no wider than so many pixels, where its words are not."""
    lines: list[str] = []
    for word in words.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
