"""Print tables and progress bars on the command line: progress to stderr, results to stdout."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from edgeprune.errors import one_line, printable
from edgeprune.processes.progress import ProgressCallback, no_progress

if TYPE_CHECKING:
    from rich.text import Text

    from edgeprune.reporting.rows import ComparisonRow


MIN_COLUMNS, MAX_COLUMNS = 20, 1000  # of a terminal
ROW = ("", "baseline", "pruned", "change")
UNFOLDED = ("name", "method", "when")  # headings of columns that are never folded


@contextmanager
def progress_bars(*kinds: str, shown: bool = True) -> Iterator[ProgressCallback]:
    """Yield a callback (done, total, text) that draws a bar on stderr; nothing is drawn before its first call.

    Texts that begin with one of ``kinds`` get a bar of their own; all others share one. Without ``shown``, nothing
    is drawn.
    """
    if not shown:
        yield no_progress
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
        with suppress(OSError):  # a closed terminal must not stop the work
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


def print_measurement(
    title: str, names: Sequence[str], rows: "list[ComparisonRow]", lines: list[str]
) -> None:
    """Print a comparison of two models, or the values of one, as a table on stdout.

    Args:
        title: above the table.
        names: of the models that were measured.
        rows: of the table; those of one model have its values for the baseline.
        lines: remarks below the table.
    """
    if len(names) > 1:
        print_rows(title, rows, lines)
        return
    print_table(title, [("", "left"), (names[0], "right")], [[row.what, row.baseline] for row in rows])
    print_lines(lines)


def print_rows(title: str, rows: "list[ComparisonRow]", lines: Iterable[str]) -> None:
    """Print a comparison of baseline and pruned model as a table on stdout.

    Args:
        title: above the table.
        rows: of the table.
        lines: remarks below the table.
    """
    columns = [(name, "left" if name in ("", "change") else "right") for name in ROW]
    print_table(title, columns, [[row.what, row.baseline, row.pruned, row.change] for row in rows])
    print_lines(lines)


def print_lines(lines: Iterable[str]) -> None:
    """Print remarks on stdout, each on one line; control characters are escaped."""
    import click

    for line in lines:
        click.echo(one_line(line))


def print_table(title: str, columns: list[tuple[str, str]], rows: list[list[Any]]) -> None:
    """Print a plain table on stdout.

    Args:
        title: above the table.
        columns: (heading, 'left' or 'right') of each.
        rows: cells of each row, shown as text.
    """
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if (
        not MIN_COLUMNS <= console.width <= MAX_COLUMNS
    ):  # COLUMNS can be any number; rich prints nothing into 0
        console = Console(width=max(MIN_COLUMNS, min(MAX_COLUMNS, console.width)))
    table = Table(title=as_text(title), title_justify="left", title_style="bold")
    for heading, side in columns:
        table.add_column(heading, justify=side, overflow="fold", no_wrap=heading in UNFOLDED)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*[as_text(cell) for cell in row])
    console.print(table)


def as_text(value: object) -> "Text":
    """Return a value as literal text for rich: neither markup ('[/b]') nor escape sequences in it have an effect."""
    from rich.text import Text

    return Text(printable(value, keep="\n"))
