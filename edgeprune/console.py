"""Tables and progress bars for the command line. Progress goes to stderr, results to stdout."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeprune.report import Row

Progress = Callable[[float, float, str], None]

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
        TextColumn("{task.description}", justify="left"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    bars = Progress(*columns, console=Console(file=sys.stderr), refresh_per_second=4)

    def report(done: float, total: float, text: str) -> None:
        key = next((kind for kind in kinds if text.startswith(kind)), "")
        if not tasks:
            bars.start()
        if key not in tasks:
            tasks[key] = bars.add_task(text, total=total)
        bars.update(tasks[key], completed=done, total=total, description=text)

    try:
        yield report
    finally:
        if tasks:
            bars.stop()


def print_rows(title: str, rows: "list[Row]", lines: list[str]) -> None:
    """A comparison as a table on stdout, remarks below it."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold")
    for name in ("", "baseline", "pruned", "change"):
        table.add_column(name, justify="left" if name in ("", "change") else "right")
    for row in rows:
        table.add_row(row.what, row.baseline, row.pruned, row.change)
    console = Console()
    console.print(table)
    for line in lines:
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def print_table(title: str, columns: list[tuple[str, str]], rows: list[list[Any]]) -> None:
    """A plain table; ``columns`` are (heading, 'left' or 'right')."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold")
    for heading, side in columns:
        table.add_column(heading, justify=side, overflow="fold", no_wrap=heading in NAMES)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*[str(cell) for cell in row])
    Console().print(table)
