"""What a page is made of: sections with tables, charts and remarks."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        head: headings; columns after the first are aligned to the right.
        rows: cells.
        caption: above it.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Figure:
    """A chart.

    Attributes:
        svg: the drawing.
        caption: what it shows.
        legend: (class in the page's style, name) of what is drawn.
        numbered: what the numbers 1, 2, ... in the drawing stand for.
    """

    svg: Markup
    caption: str
    legend: Sequence[tuple[str, str]] = ()
    numbered: Sequence[str] = ()


@dataclass(frozen=True)
class Remark:
    """A line of text.

    Attributes:
        text: one sentence or more.
        kind: "warning", "note" or "".
        label: in front of it.
    """

    text: str
    kind: str = ""
    label: str = ""


@dataclass(frozen=True)
class Folded:
    """A table that is opened on demand."""

    title: str
    table: Table


Block = Table | Figure | Remark | Folded


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading."""

    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)

    @property
    def anchor(self) -> str:
        """Its address within the page."""
        return "".join(c if c.isalnum() else "-" for c in self.title.lower())


@dataclass(frozen=True)
class Page:
    """What is written into a file.

    Attributes:
        title: of the page.
        lead: one sentence that says what came out.
        facts: (value, what it is, class) shown large.
        sections: in order.
        foot: versions and date.
    """

    title: str
    lead: str
    facts: Sequence[tuple[str, str, str]]
    sections: Sequence[Section]
    foot: str
