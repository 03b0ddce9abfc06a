"""Draw what charts consist of: frames, scales, axes, and single shapes as SVG."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Concatenate, ParamSpec

from markupsafe import Markup

P = ParamSpec("P")
RIGHT, TOP, BOTTOM = 16, 18, 46
TICKS = 5
LETTER = 7.0  # pixels that a character takes at most, on average, in the style's small text
ROW = 14  # pixels between lines of small text


@dataclass(frozen=True)
class Frame:
    """The room that a chart is drawn in. Its units are the pixels that its text is sized in.

    Attributes:
        kind: class in the page's style, which shows the frame that fits the page's width.
        width: of the whole chart.
        left: where the plot begins, after the texts of the y-axis.
        side: where the plot begins of charts with names beside their rows.
        names: characters of such a name.
        ticks: about how many values the x-axis names.
    """

    kind: str
    width: int
    left: int
    side: int
    names: int
    ticks: int
    height: int = 280

    @property
    def right(self) -> int:
        """Where the plot ends."""
        return self.width - RIGHT

    @property
    def foot(self) -> int:
        """The height of the x-axis."""
        return self.height - BOTTOM


BROAD = Frame("broad", width=720, left=64, side=210, names=28, ticks=TICKS)
NARROW = Frame("narrow", width=360, left=58, side=124, names=16, ticks=3)


def in_both_frames(draw: Callable[Concatenate[Frame, P], Markup]) -> Callable[P, Markup]:
    """Return a chart that is drawn for broad and for narrow pages: the page's style shows the one that fits.

    A chart that only shrinks would have unreadable text on a phone.
    """

    @wraps(draw)
    def both(*args: P.args, **kwargs: P.kwargs) -> Markup:
        return Markup("").join(draw(frame, *args, **kwargs) for frame in (BROAD, NARROW))

    return both


class Scale:
    """Maps values to pixels.

    Args:
        values: all that must fit.
        start: pixel of the lowest value.
        end: pixel of the highest.
        include: a value that must be on the scale, too.
        ticks: about how many round values it has.
    """

    def __init__(
        self,
        values: Iterable[float],
        start: float,
        end: float,
        include: float | None = None,
        ticks: int = TICKS,
    ) -> None:
        finite = [value for value in values if math.isfinite(value)]
        if include is not None:
            finite.append(include)
        low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
        if low == high:
            low, high = low - (abs(low) or 1.0) * 0.05, high + (abs(high) or 1.0) * 0.05
        self.step = _round_step((high - low) / ticks)
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


def text_width(words: str) -> float:
    """Return about how many pixels a small text takes."""
    return LETTER * len(words)


def within(middle: float, words: str, low: float, high: float) -> float:
    """Return where the middle of a text must be for the text to be between two pixels.

    Args:
        middle: where it is wished.
        words: the text.
        low: pixel of the left end.
        high: pixel of the right end; a text that is too long is in the middle of both.
    """
    half = min(text_width(words), high - low) / 2
    return min(max(middle, low + half), high - half)


def first_rows(spans: Sequence[tuple[float, float]]) -> list[int]:
    """Return for each span the first row, from 0, in which no span before it is in its way."""
    rows: list[list[tuple[float, float]]] = []
    places = []
    for low, high in spans:
        fitting = (n for n, row in enumerate(rows) if all(high <= a or low >= b for a, b in row))
        place = next(fitting, len(rows))
        if place == len(rows):
            rows.append([])
        rows[place].append((low, high))
        places.append(place)
    return places


def interval(low: float, high: float, height: float, kind: str) -> list[str]:
    """Draw a horizontal line with ends.

    Args:
        low: pixel of its left end.
        high: pixel of its right end.
        height: pixel from the top.
        kind: class in the page's style.
    """
    ends = [line(f"line {kind}", (end, end), (height - 5, height + 5)) for end in (low, high)]
    return [line(f"line {kind}", (low, high), (height, height)), *ends]


def line(kind: str, x: tuple[float, float], y: tuple[float, float], about: str = "") -> str:
    """Draw a line.

    Args:
        kind: class in the page's style.
        x: pixels of its ends.
        y: pixels of its ends.
        about: what pointing at it shows.
    """
    ends = f'x1="{x[0]:.1f}" x2="{x[1]:.1f}" y1="{y[0]:.1f}" y2="{y[1]:.1f}"'
    return f'<line class="{kind}" {ends}>{tip(about) if about else ""}</line>'


def dot(x: float, y: float, kind: str, radius: float, about: str) -> str:
    """Draw a dot.

    Args:
        x: pixel of its middle.
        y: pixel of its middle.
        kind: class in the page's style.
        radius: in pixels.
        about: what pointing at it shows.
    """
    return f'<circle class="dot {kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}">{tip(about)}</circle>'


def text(x: float, y: float, words: str, anchor: str, kind: str, extra: str = "") -> str:
    """Draw a text, escaped.

    Args:
        x: pixel of its anchor.
        y: pixel that it stands on.
        words: the text.
        anchor: "start", "middle" or "end".
        kind: class in the page's style.
        extra: further attributes.
    """
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}" {}>{}</text>').format(
        kind, f"{x:.1f}", f"{y:.1f}", anchor, Markup(extra), words
    )


def tip(words: str) -> str:
    """Return what pointing at a shape shows, escaped."""
    return Markup("<title>{}</title>").format(words)


def x_ticks(frame: Frame, x: Scale, height: float) -> list[str]:
    """Write the round values of an x-axis, none of them past the edge.

    Args:
        frame: of the chart.
        x: the scale.
        height: pixel that they stand on.
    """
    return [
        text(within(x(value), words, 0, frame.width), height, words, "middle", "small")
        for value, words in x.ticks()
    ]


def axes(frame: Frame, x: Scale, y: Scale, x_title: str, y_title: str) -> list[str]:
    """Draw both axes with their round values and titles.

    Args:
        frame: of the chart.
        x: scale of the x-axis.
        y: scale of the y-axis.
        x_title: of the x-axis.
        y_title: of the y-axis.
    """
    parts = y_axis(frame, y, y_title)
    parts.append(line("axis", (frame.left, frame.right), (frame.foot, frame.foot)))
    parts += x_ticks(frame, x, frame.foot + 16)
    middle = within((frame.left + frame.right) / 2, x_title, 0, frame.width)
    parts.append(text(middle, frame.height - 8, x_title, "middle", "small"))
    return parts


def y_axis(frame: Frame, y: Scale, title: str) -> list[str]:
    """Draw the lines of a y-axis with their values, and its title.

    Args:
        frame: of the chart.
        y: the scale.
        title: of the axis.
    """
    parts = []
    for value, words in y.ticks():
        parts.append(line("grid", (frame.left, frame.right), (y(value), y(value))))
        parts.append(text(frame.left - 6, y(value) + 4, words, "end", "small"))
    most = int(frame.height / LETTER)  # the caption has the whole of a title that is longer
    title = title if len(title) <= most else title[: most - 1] + "…"
    middle = within((frame.foot + TOP) / 2, title, 0, frame.height)
    parts.append(text(14, middle, title, "middle", "small", f'transform="rotate(-90 14 {middle:.1f})"'))
    return parts


def svg(frame: Frame, title: str, parts: Iterable[str], height: float | None = None) -> Markup:
    """Return a chart of these parts.

    Args:
        frame: its width, and its height where none is given.
        title: what is seen, for those who cannot see it.
        parts: shapes as SVG.
        height: of the whole.
    """
    return Markup('<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        frame.kind, frame.width, f"{height or frame.height:.0f}", title, Markup("".join(parts))
    )


def cut(name: str, most: int = 22) -> str:
    """Return a name that fits, by its end, which tells layers apart."""
    return name if len(name) <= most else "…" + name[-most + 1 :]


def _round_step(step: float) -> float:
    """Return the next larger of 1, 2, 5 times a power of ten."""
    power: float = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))
