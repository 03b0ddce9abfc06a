"""Print tables and progress on the command line: progress to stderr, results to stdout."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from edgeprune.errors import one_line, printable
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.reporting.progress_lines import ProgressLines, kind_of, share_text

if TYPE_CHECKING:
    from rich.text import Text

    from edgeprune.reporting.rows import ComparisonRow


MIN_COLUMNS, MAX_COLUMNS = 20, 1000  # of a terminal
BAR_WIDTHS = 8, 24  # the least and the most of a progress bar
BESIDE_BAR = 24  # columns of the share, of two times of up to 99 hours, and between all of them
ROW = ("", "baseline", "pruned", "change")
UNFOLDED = ("name", "method", "when", "runtimes")  # headings of columns that are never folded


@contextmanager
def progress_bars(*kinds: str, shown: bool = True) -> Iterator[ProgressCallback]:
    """Yield a callback (done, total, text) that draws a bar on stderr; nothing is drawn before its first call.

    Texts that begin with one of ``kinds`` get a bar of their own, which stays when it is complete; all others share
    one, which goes when another bar has news. Work of one step pulses until it says more. Where stderr is not a
    terminal, there are plain lines instead; see `ProgressLines`. Without ``shown``, nothing is drawn.
    """
    if not shown or sys.stderr is None:
        yield no_progress
        return
    progress = _Bars(kinds) if draws_bars() else ProgressLines(kinds)
    try:
        yield progress.report
    finally:
        with suppress(OSError):
            progress.stop()


def draws_bars() -> bool:
    """Return whether stderr is a terminal on which a line can be drawn anew."""
    return sys.stderr.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


class _Bars:
    """The bars of one command; ``kinds`` are those that have a bar of their own."""

    def __init__(self, kinds: Sequence[str]) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TaskID,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._kinds = kinds
        self._tasks: dict[str, tuple[TaskID, bool]] = {}  # by kind; and whether its end is known
        self._bar = BarColumn(bar_width=BAR_WIDTHS[1])
        self._progress = Progress(
            TextColumn("{task.description}", justify="left", markup=False),
            self._bar,
            TextColumn("{task.fields[share]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(file=sys.stderr),
            refresh_per_second=4,
        )
        self._started = False

    def report(self, done: float, total: float, text: str) -> None:
        """Show how far the work is; see `ProgressCallback`."""
        key = kind_of(text, self._kinds)
        with suppress(OSError):  # a closed terminal must not stop the work
            if not self._started:
                self._progress.start()
                self._started = True
            for other, (_, end_known) in list(self._tasks.items()):
                if other != key and not (other and end_known):  # what it told of is done
                    self._remove(other)
            self._update(key, done, total, text)

    def stop(self) -> None:
        """Leave the bars of completed work alone: half a bar above a result or an error says nothing."""
        if not self._started:
            return
        unfinished = {task.id for task in self._progress.tasks if not task.finished}
        for key, (task, _) in list(self._tasks.items()):
            if not key or task in unfinished:
                self._remove(key)
        self._progress.live.transient = not self._tasks
        self._progress.stop()

    def _update(self, key: str, done: float, total: float, text: str) -> None:
        end_known = done > 0 or total > 1
        if key in self._tasks and self._tasks[key][1] != end_known:
            self._remove(key)  # rich cannot take back that an end is known
        if key not in self._tasks:
            end = total if end_known else None
            self._tasks[key] = self._progress.add_task("", total=end, share=""), end_known
        task = self._tasks[key][0]
        share = f"{share_text(done, total):>4}" if end_known and total > 0 else "    "
        line = self._fitting(one_line(text))
        if end_known:
            self._progress.update(task, completed=done, total=total, description=line, share=share)
        else:
            self._progress.update(task, description=line, share=share)

    def _fitting(self, text: str) -> str:
        """Return a text, or its first parts, that leaves the bar, the share and the times their room."""
        from rich.cells import cell_len
        from rich.text import Text

        room = self._progress.console.width - BESIDE_BAR
        longest = max(1, room - BAR_WIDTHS[0])
        shorter, parts = Text(text), text.split(", ")
        while shorter.cell_len > longest and len(parts) > 1:
            parts.pop()
            shorter = Text(f"{', '.join(parts)}…")
        shorter.truncate(longest, overflow="ellipsis")
        others = [cell_len(task.description) for task in self._progress.tasks]
        widest = max([shorter.cell_len, *others])
        self._bar.bar_width = max(BAR_WIDTHS[0], min(BAR_WIDTHS[1], room - widest))
        return shorter.plain

    def _remove(self, key: str) -> None:
        if key in self._tasks:
            self._progress.remove_task(self._tasks.pop(key)[0])


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
    longest = max((len(str(row[0])) for row in rows if row), default=0)
    for place, (heading, side) in enumerate(columns):
        # Names stay whole where there is room.
        unfolded = heading in UNFOLDED or (place == 0 and longest <= console.width // 2)
        table.add_column(heading, justify=side, overflow="fold", no_wrap=unfolded)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*[as_text(cell) for cell in row])
    console.print(table)


def as_text(value: object) -> "Text":
    """Return a value as literal text for rich: neither markup ('[/b]') nor escape sequences in it have an effect."""
    from rich.text import Text

    return Text(printable(value, keep="\n"))
