"""The group of all commands, and what they share."""

import contextlib
import json
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import click

from edgeprune.cli.commands import Command
from edgeprune.cli.failures import as_one_line
from edgeprune.cli.options import grouped
from edgeprune.errors import RunError, printable
from edgeprune.processes.progress import ProgressCallback
from edgeprune.processes.signals import exit_code, stop_at_once

RUNS = Path("runs")
# Kinds of folders under runs/: the file that each has from the beginning, and those one of which ends it.
TRAINED = {"config.json": ("summary.json",)}
MEASURED = {**TRAINED, "prune.json": ("summary.json",)}
REPORTED = {
    **MEASURED, "prune.json": ("summary.json", "curve.json"), "compare.json": ("result.json",),
    "search.json": ("result.json",),
}  # fmt: skip
Kinds = Mapping[str, tuple[str, ...]]
NOTHING_BEGUN = "stopped before anything was begun: give the same command again"


def complain(line: str) -> None:
    """Print a line on stderr, if that still leads anywhere: the terminal may be closed."""
    with contextlib.suppress(OSError):
        echo(line, err=True)


class _Group(click.Group):
    """Turns a user's mistake, and what a machine refuses, into one line and exit code 1, in one place."""

    command_class = Command
    group_class = type

    def main(self, *args: Any, **settings: Any) -> Any:
        """Run a command; a bug alone shows its traceback."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):  # a name that is not UTF-8, or a terminal that knows less
                stream.reconfigure(errors="backslashreplace")
        try:
            return super().main(*args, **settings)
        except Exception as error:
            line = as_one_line(error)
            if line is None:
                raise
            complain(f"error: {line}")
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand; Ctrl-C ends it with one word."""
        try:
            with stop_at_once():
                result = super().invoke(ctx)
                if sys.stdout is not None:
                    sys.stdout.flush()  # a full disk or a closed pipe is known here, not after the last line
                return result
        except KeyboardInterrupt:
            complain("stopped")
            ctx.exit(exit_code())


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="edgeprune")
def main() -> None:
    """Prune a CNN while training it, export it, and measure on the device what was really gained.

    \b
    edgeprune train-prune    a ResNet-20 on handwritten digits, half of the FLOPs
    edgeprune export         the latest run, to ONNX
    edgeprune bench          baseline and pruned, in turn, on this machine
    """


def as_json(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the --json flag that every command has."""
    return grouped("--json", "to_json", is_flag=True, help="Print the result as JSON.")(function)


def echo(text: str, *, err: bool = False) -> None:
    """Print lines, on stderr with ``err``; a terminal obeys nothing that came into them from outside."""
    click.echo(printable(text, keep="\n"), err=err)


def trusts(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the --trust option of every command that builds the model of a run folder."""

    @wraps(function)
    def command(*args: Any, trust: tuple[str, ...], **options: Any) -> Any:
        from edgeprune.records.trust import trusting

        with trusting(*trust):
            return function(*args, **options)

    about = "Let a run folder import its model's factory from this package. May be repeated."
    return grouped("--trust", multiple=True, metavar="PACKAGE", main=False, help=about)(command)


def say(value: Any) -> None:
    """Print a result, a record or a value of JSON, as JSON on stdout."""
    from edgeprune.records.base import plain

    click.echo(json.dumps(plain(value), indent=2))


def latest_run(folder: str | None) -> Path:
    """Return the run folder, or the latest of train-prune under runs/ for None; raises RunError if there is none."""
    return Path(folder) if folder is not None else _runs_by_age(TRAINED)[-1]


def finished_run(folder: str | None, kinds: Kinds = TRAINED) -> Path:
    """Return the folder, or the latest finished one under runs/ for None, and say which where a newer one is not.

    Without a finished one it is the latest, whose error says how to finish it.

    Args:
        folder: as the user named it.
        kinds: of folders, as `TRAINED`.

    Raises:
        RunError: there is none.
    """
    if folder is not None:
        return Path(folder)
    runs = _runs_by_age(kinds)
    finished = next((run for run in reversed(runs) if _is_finished(run, kinds)), runs[-1])
    if finished != runs[-1]:
        complain(f"{runs[-1]} has nothing for this command yet: taking {finished}")
    return finished


def _is_finished(run: Path, kinds: Kinds) -> bool:
    return any(
        (run / marker).is_file() and any((run / result).is_file() for result in results)
        for marker, results in kinds.items()
    )


def _runs_by_age(kinds: Kinds) -> list[Path]:
    """Return the folders of these kinds under runs/, the latest last; raises RunError if there is none."""
    markers = [path for marker in kinds for path in RUNS.glob(f"*/{marker}")]
    if not markers:
        raise RunError("no run under runs/ yet: make one with 'edgeprune train-prune', or name a run folder")
    return [marker.parent for marker in sorted(markers, key=lambda path: (path.stat().st_mtime_ns, path))]


def free_place(model: str, data: str) -> tuple[Path, Path | None]:
    """Return runs/MODEL-DATA, with a number appended if that exists; and what exists, or None.

    Args:
        model: its name.
        data: its name, or the path of its folder.
    """
    name = f"{model.replace(':', '-')}-{Path(data).name}"
    places = [RUNS / name, *(RUNS / f"{name}-{i}" for i in range(2, 10_000))]
    place = next(place for place in places if not place.exists())
    return place, None if place == places[0] else places[0]


class Begun:
    """Tell whether a command has begun its folder, for what is said then, and when it is stopped.

    Attributes:
        place: the folder.
    """

    def __init__(self, place: Path, marker: str, *, resumed: bool, taken: Path | None = None) -> None:
        """Look at what is there before the command writes.

        Args:
            place: the folder.
            marker: the file that makes it one.
            resumed: whether the command goes on with it.
            taken: the folder that was there already, beside which this one is begun; None to say nothing of it.
        """
        self.place, self._marker, self._resumed, self._taken = place, place / marker, resumed, taken
        self._before = self._stamp()

    def _stamp(self) -> tuple[int, int] | None:
        try:
            stat = self._marker.stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns

    @property
    def _is_begun(self) -> bool:
        return self._stamp() not in (None, self._before)

    def announcing(self, progress: ProgressCallback) -> ProgressCallback:
        """Return a callback that also says beside which folder this one was begun, as soon as it is there."""

        def report(done: float, total: float, text: str) -> None:
            self.announce()
            progress(done, total, text)

        return report

    def announce(self) -> None:
        """Say beside which folder this one was begun, if it was; once."""
        if self._taken is not None and self._is_begun:
            complain(f"{self._taken} exists: writing {self.place}")
            self._taken = None

    def complain_of_stop(self, again: str) -> None:
        """Print how to go on: ``again`` continues the folder, unless nothing was begun."""
        if self._resumed or self._is_begun:
            complain(f"stopped; go on with: edgeprune {again}")
        else:
            complain(NOTHING_BEGUN)


def typed_values(ctx: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were typed, without defaults."""
    typed = click.core.ParameterSource.COMMANDLINE
    return {name: value for name, value in options.items() if ctx.get_parameter_source(name) == typed}
