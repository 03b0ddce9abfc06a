"""Draw charts as SVG that is put into a page: colours come from the page's style, numbers can be read by pointing."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from edgeprune.reporting.rows import percent

WIDTH, HEIGHT = 720, 280
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 18, 46
LABELLED = 30  # columns that have room for their names
POINTED = 400  # points of a line that can be pointed at; more make a page slow
TICKS = 5


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
class Estimate:
    """A point with an interval along x.

    Attributes:
        name: beside the point.
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


@dataclass(frozen=True)
class Spread:
    """A distribution in short: its 10th, 50th and 90th percentile."""

    low: float
    middle: float
    high: float


class Scale:
    """Maps values to pixels.

    Args:
        values: all that must fit.
        start: pixel of the lowest value.
        end: pixel of the highest.
        include: a value that must be on the scale, too.
    """

    def __init__(
        self, values: Iterable[float], start: float, end: float, include: float | None = None
    ) -> None:
        finite = [value for value in values if math.isfinite(value)]
        if include is not None:
            finite.append(include)
        low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
        if low == high:
            low, high = low - (abs(low) or 1.0) * 0.05, high + (abs(high) or 1.0) * 0.05
        self.step = _round_step((high - low) / TICKS)
        self.low = math.floor(low / self.step + 1e-9) * self.step
        self.high = math.ceil(high / self.step - 1e-9) * self.step
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Return round values on the scale, with their texts."""
        count = round((self.high - self.low) / self.step)
        decimals = max(0, -math.floor(math.log10(self.step)))
        return [
            (self.low + n * self.step, f"{self.low + n * self.step:,.{decimals}f}") for n in range(count + 1)
        ]


def line_chart(
    series: Sequence[Series], *, title: str, x_title: str, y_title: str, bands: Sequence[Band] = ()
) -> Markup:
    """Draw lines, with the parts of the x-axis named.

    Args:
        series: the lines.
        title: what is seen, for those who cannot see it.
        x_title: of the x-axis.
        y_title: of the y-axis.
        bands: parts of the x-axis.
    """
    points = [point for line in series for point in line.points]
    x = Scale([p[0] for p in points] + [b.end for b in bands], LEFT, WIDTH - RIGHT, include=0.0)
    y = Scale([p[1] for p in points], HEIGHT - BOTTOM, TOP)
    parts = []
    for number, band in enumerate(bands):
        left, right = x(band.start), x(band.end)
        parts.append(
            f'<rect class="band{number % 2}" x="{left:.1f}" y="{TOP}" width="{max(0.0, right - left):.1f}" '
            f'height="{HEIGHT - BOTTOM - TOP}"/>'
        )
        parts.append(_text((left + right) / 2, TOP - 3, band.name, "middle", "small"))
    parts += _axes(x, y, x_title, y_title)
    for line in series:
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in line.points)
        parts.append(f'<polyline class="line {line.kind}" points="{path}"/>')
        for a, b in line.points if len(line.points) <= POINTED else ():
            parts.append(_dot(x(a), y(b), line.kind, 2.5, f"{line.name}: {b:,.4g} at {a:,.0f}"))
    return _svg(title, parts)


def width_chart(names: Sequence[str], before: Sequence[int], after: Sequence[int], *, title: str) -> Markup:
    """Draw a column for each group of channels along the network: its width before, filled up to its width after.

    Args:
        names: of the groups.
        before: channels of each.
        after: channels that are kept.
        title: what is seen, for those who cannot see it.
    """
    labelled = len(names) <= LABELLED
    foot = 118 if labelled else 30
    height = HEIGHT - BOTTOM + foot
    y = Scale(before, HEIGHT - BOTTOM, TOP, include=0.0)
    pitch = (WIDTH - LEFT - RIGHT) / max(1, len(names))
    bar = max(1.0, pitch * 0.72)
    parts = _y_axis(y, "channels")
    for number, (name, old, new) in enumerate(zip(names, before, after, strict=True)):
        left = LEFT + pitch * number + (pitch - bar) / 2
        tip = _tip(f"{name}: {old} to {new} ({percent(new / old, 0)})")
        for value, kind in ((old, "baseline faint"), (new, "pruned")):
            parts.append(
                f'<rect class="bar {kind}" x="{left:.1f}" y="{y(value):.1f}" width="{bar:.1f}" '
                f'height="{y(0) - y(value):.1f}">{tip}</rect>'
            )
        if labelled:
            middle, foot_y = left + bar / 2 + 4, HEIGHT - BOTTOM + 12
            turn = f'transform="rotate(-50 {middle:.1f} {foot_y})"'
            parts.append(_text(middle, foot_y, _cut(name), "end", "small", turn))
    if not labelled:
        parts.append(
            _text((LEFT + WIDTH) / 2, height - 8, "groups of channels, along the network", "middle", "small")
        )
    return _svg(title, parts, height)


def estimate_chart(estimates: Sequence[Estimate], *, title: str, x_title: str, y_title: str) -> Markup:
    """Draw points with intervals along x.

    Args:
        estimates: the points.
        title: what is seen, for those who cannot see it.
        x_title: of the x-axis.
        y_title: of the y-axis.
    """
    x = Scale([v for e in estimates for v in (e.low, e.high)], LEFT, WIDTH - 90, include=1.0)
    y = Scale([e.y for e in estimates], HEIGHT - BOTTOM, TOP + 12)
    parts = _axes(x, y, x_title, y_title)
    parts.append(f'<line class="one" x1="{x(1):.1f}" x2="{x(1):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
    for e in estimates:
        height = y(e.y)
        interval = "" if e.low == e.high else f" ({e.low:.2f} to {e.high:.2f})"
        parts += _interval(x(e.low), x(e.high), height, e.kind)
        parts.append(_dot(x(e.x), height, e.kind, 5, f"{e.name}: {e.x:.2f}x{interval}"))
        parts.append(_text(x(e.x), height - 10, e.name, "middle", "small"))
    return _svg(title, parts)


def dot_rows(rows: Sequence[Estimate], *, title: str, x_title: str) -> Markup:
    """Draw a row for each estimate, with its interval.

    Args:
        rows: from top to bottom; their heights are not looked at.
        title: what is seen, for those who cannot see it.
        x_title: of the x-axis.
    """
    left, pitch = 190, 26
    foot = TOP + pitch * len(rows)
    x = Scale([v for row in rows for v in (row.low, row.high)], left, WIDTH - 40)
    parts = [_line("grid", (x(value), x(value)), (TOP, foot)) for value, _ in x.ticks()]
    parts += [_text(x(value), foot + 16, text, "middle", "small") for value, text in x.ticks()]
    for number, row in enumerate(rows):
        height = TOP + pitch * (number + 0.5)
        parts.append(_text(left - 10, height + 4, _cut(row.name, 26), "end", "small"))
        parts += _interval(x(row.low), x(row.high), height, row.kind)
        parts.append(
            _dot(x(row.x), height, row.kind, 5, f"{row.name}: {row.x:.2f} ({row.low:.2f} to {row.high:.2f})")
        )
    parts.append(_text((left + WIDTH) / 2, foot + 34, x_title, "middle", "small"))
    return _svg(title, parts, foot + 42)


def rounds_chart(rounds: Mapping[str, Sequence[Spread]], *, title: str, y_title: str) -> Markup:
    """Draw each round of each model: from the 10th to the 90th percentile, with the median.

    Args:
        rounds: a distribution for each round, by the model's name.
        title: what is seen, for those who cannot see it.
        y_title: of the y-axis.
    """
    count = max((len(spreads) for spreads in rounds.values()), default=0)
    values = [v for spreads in rounds.values() for s in spreads for v in (s.low, s.high)]
    y = Scale(values, HEIGHT - BOTTOM, TOP, include=0.0)
    pitch = (WIDTH - LEFT - RIGHT) / max(1, count)
    parts = _y_axis(y, y_title)
    shift = min(9.0, pitch / 4)
    for place, (name, spreads) in enumerate(rounds.items()):
        aside = (place - (len(rounds) - 1) / 2) * 2 * shift
        for number, spread in enumerate(spreads):
            middle = LEFT + pitch * (number + 0.5) + aside
            tip = f"{name}, round {number + 1}: {spread.middle:.3g} ({spread.low:.3g} to {spread.high:.3g})"
            parts.append(_line(f"wide {name}", (middle, middle), (y(spread.low), y(spread.high)), tip))
            parts.append(_dot(middle, y(spread.middle), name, 4, tip))
    for number in range(count):
        if count <= LABELLED or number % 10 == 9:
            parts.append(
                _text(LEFT + pitch * (number + 0.5), HEIGHT - BOTTOM + 18, str(number + 1), "middle", "small")
            )
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, "round", "middle", "small"))
    return _svg(title, parts)


def histogram(samples: Mapping[str, Sequence[float]], *, title: str, x_title: str, bins: int = 48) -> Markup:
    """Draw how often each value occurred, by model; the slowest percent is left out.

    Args:
        samples: values by the model's name.
        title: what is seen, for those who cannot see it.
        x_title: of the x-axis.
        bins: columns.
    """
    ordered = {name: sorted(values) for name, values in samples.items() if len(values)}
    low = min((values[0] for values in ordered.values()), default=0.0)
    high = max((values[int(0.99 * (len(values) - 1))] for values in ordered.values()), default=1.0)
    x = Scale([low, high], LEFT, WIDTH - RIGHT)
    size = (x.high - x.low) / bins
    shares = {}
    for name, values in ordered.items():
        counts = [0] * bins
        for value in values:
            if value <= x.high:
                counts[min(bins - 1, int((value - x.low) / size))] += 1
        shares[name] = [100 * count / len(values) for count in counts]
    y = Scale([v for share in shares.values() for v in share], HEIGHT - BOTTOM, TOP, include=0.0)
    parts = _axes(x, y, x_title, "% of inferences")
    for name, share in shares.items():
        corners = [(x.low, 0.0)]
        for number, value in enumerate(share):
            corners += [(x.low + number * size, value), (x.low + (number + 1) * size, value)]
        corners.append((x.high, 0.0))
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in corners)
        parts.append(f'<polygon class="area {name}" points="{path}"/>')
    return _svg(title, parts)


def pair_bars(rows: Sequence[tuple[str, float | None, float | None]], *, title: str, unit: str) -> Markup:
    """Draw two bars for each row, of the baseline and of the pruned model.

    Args:
        rows: (name, value of the baseline, value of the pruned model); None where there is none.
        title: what is seen, for those who cannot see it.
        unit: of the values.
    """
    left, row = 210, 30
    height = TOP + row * len(rows) + 30
    x = Scale([v for _, a, b in rows for v in (a, b) if v is not None], left, WIDTH - 70, include=0.0)
    parts = []
    for number, (name, *values) in enumerate(rows):
        top = TOP + row * number
        parts.append(_text(left - 8, top + 17, _cut(name, 30), "end", "small"))
        for place, (value, kind) in enumerate(zip(values, ("baseline", "pruned"), strict=True)):
            if value is None:
                continue
            size = f'width="{max(0.5, x(value) - left):.1f}" height="11"'
            tip = _tip(f"{name}, {kind}: {value:.4g} {unit}")
            parts.append(
                f'<rect class="bar {kind}" x="{left}" y="{top + 3 + 12 * place}" {size}>{tip}</rect>'
            )
            parts.append(_text(x(value) + 4, top + 13 + 12 * place, f"{value:.3g}", "start", "tiny"))
    parts.append(_text(left, height - 8, unit, "start", "small"))
    return _svg(title, parts, height)


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


def heat_map(rows: Sequence[tuple[str, Sequence[Cell]]], columns: Sequence[str], *, title: str) -> Markup:
    """Draw a field for each row and column, the stronger the more it weighs.

    Args:
        rows: (name, its fields) from top to bottom.
        columns: their names.
        title: what is seen, for those who cannot see it.
    """
    left, height = 220, 22
    pitch = (WIDTH - left - RIGHT) / max(1, len(columns))
    parts = []
    for number, name in enumerate(columns):
        parts.append(_text(left + pitch * (number + 0.5), TOP - 5, name, "middle", "small"))
    for line, (name, cells) in enumerate(rows):
        top = TOP + height * line
        parts.append(_text(left - 8, top + 15, _cut(name, 28), "end", "small"))
        for number, cell in enumerate(cells):
            x, opacity = left + pitch * number, 0.85 * min(1.0, max(0.0, cell.weight))
            size = f'width="{pitch - 2:.1f}" height="{height - 2}"'
            parts.append(
                f'<rect class="heat" x="{x:.1f}" y="{top}" {size} fill-opacity="{opacity:.3f}">{_tip(cell.tip)}</rect>'
            )
            parts.append(_text(x + pitch / 2 - 1, top + 15, cell.text, "middle", "small strong"))
    return _svg(title, parts, TOP + height * len(rows) + 8)


def _interval(low: float, high: float, height: float, kind: str) -> list[str]:
    """Draw a horizontal line with ends."""
    ends = [_line(f"line {kind}", (end, end), (height - 5, height + 5)) for end in (low, high)]
    return [_line(f"line {kind}", (low, high), (height, height)), *ends]


def _line(kind: str, x: tuple[float, float], y: tuple[float, float], tip: str = "") -> str:
    ends = f'x1="{x[0]:.1f}" x2="{x[1]:.1f}" y1="{y[0]:.1f}" y2="{y[1]:.1f}"'
    return f'<line class="{kind}" {ends}>{_tip(tip) if tip else ""}</line>'


def _dot(x: float, y: float, kind: str, radius: float, tip: str) -> str:
    return f'<circle class="dot {kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}">{_tip(tip)}</circle>'


def _axes(x: Scale, y: Scale, x_title: str, y_title: str) -> list[str]:
    foot = HEIGHT - BOTTOM
    parts = _y_axis(y, y_title)
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{foot}" y2="{foot}"/>')
    parts += [_text(x(value), foot + 16, text, "middle", "small") for value, text in x.ticks()]
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_title, "middle", "small"))
    return parts


def _y_axis(y: Scale, title: str) -> list[str]:
    parts = []
    for value, text in y.ticks():
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
        )
        parts.append(_text(LEFT - 6, y(value) + 4, text, "end", "small"))
    middle = (HEIGHT - BOTTOM + TOP) / 2
    parts.append(_text(14, middle, title, "middle", "small", f'transform="rotate(-90 14 {middle:.1f})"'))
    return parts


def _text(x: float, y: float, text: str, anchor: str, kind: str, extra: str = "") -> str:
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}" {}>{}</text>').format(
        kind, f"{x:.1f}", f"{y:.1f}", anchor, Markup(extra), text
    )


def _tip(text: str) -> str:
    return Markup("<title>{}</title>").format(text)


def _svg(title: str, parts: Iterable[str], height: float = HEIGHT) -> Markup:
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, f"{height:.0f}", title, Markup("".join(parts))
    )


def _cut(name: str, most: int = 22) -> str:
    """Return a name that fits, by its end, which tells layers apart."""
    return name if len(name) <= most else "…" + name[-most + 1 :]


def _round_step(step: float) -> float:
    """Return the next larger of 1, 2, 5 times a power of ten."""
    power: float = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))
