"""Tables and progress bars for the command line. Progress goes to stderr, results to stdout."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from edgeprune.errors import one_line, printable

if TYPE_CHECKING:
    from rich.text import Text

    from edgeprune.reporting.rows import Row

Progress = Callable[[float, float, str], None]

NARROW, WIDE = 20, 1000  # columns of a terminal
ROW = ("", "baseline", "pruned", "change")
NAMES = ("name", "method", "when")  # columns that are never folded


@contextmanager
def progress_bars(*kinds: str, shown: bool = True) -> Iterator[Progress]:
    """A callback (done, total, text) that draws a bar on stderr; nothing is drawn before its first call.

    Texts that begin with one of ``kinds`` get a bar of their own; all others share one. Nothing at all is
    drawn unless ``shown``.
    """
    if not shown:
        yield lambda done, total, text: None  # noqa: ARG005
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", justify="left", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    bars = Progress(*columns, console=Console(file=sys.stderr), refresh_per_second=4)

    def report(done: float, total: float, text: str) -> None:
        key = next((kind for kind in kinds if text.startswith(kind)), "")
        with suppress(OSError):  # a terminal that was closed must not stop the work
            if not tasks:
                bars.start()
            if key not in tasks:
                tasks[key] = bars.add_task(one_line(text), total=total)
            bars.update(tasks[key], completed=done, total=total, description=one_line(text))

    try:
        yield report
    finally:
        if tasks:
            with suppress(OSError):
                bars.stop()


def print_rows(title: str, rows: "list[Row]", lines: list[str]) -> None:
    """A comparison as a table on stdout, remarks below it."""
    columns = [(name, "left" if name in ("", "change") else "right") for name in ROW]
    print_table(title, columns, [[row.what, row.baseline, row.pruned, row.change] for row in rows])
    print_lines(lines)


def print_lines(lines: Iterable[str]) -> None:
    """Print remarks on stdout, each on one line; a terminal obeys nothing in them."""
    import click

    for line in lines:
        click.echo(one_line(line))


def print_table(title: str, columns: list[tuple[str, str]], rows: list[list[Any]]) -> None:
    """A plain table; ``columns`` are (heading, 'left' or 'right')."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not NARROW <= console.width <= WIDE:  # COLUMNS may say anything; rich prints nothing into none
        console = Console(width=max(NARROW, min(WIDE, console.width)))
    table = Table(title=as_text(title), title_justify="left", title_style="bold")
    for heading, side in columns:
        table.add_column(heading, justify=side, overflow="fold", no_wrap=heading in NAMES)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*[as_text(cell) for cell in row])
    console.print(table)


def as_text(value: object) -> "Text":
    """Return a value for rich as it stands: '[/b]' in a name is no markup, an escape sequence no command."""
    from rich.text import Text

    return Text(printable(value, keep="\n"))
