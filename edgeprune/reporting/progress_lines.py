"""Progress in plain lines, for a log: one for each epoch, and one now and then of other work."""

import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from threading import Lock

from edgeprune.errors import one_line
from edgeprune.processes.progress import Pace

EVERY_S = 30.0  # between two lines of work without epochs
EPOCH = re.compile(r"(\S+) epoch (\d+)/\d+")


def share_text(done: float, total: float) -> str:
    """Return how much of the work is done, as '45%'.

    Args:
        done: amount of finished work.
        total: amount of all work, above 0.
    """
    return f"{100 * min(max(done / total, 0), 1):.0f}%"


def kind_of(text: str, kinds: Sequence[str]) -> str:
    """Return the one of ``kinds`` with which a text begins; "" for none."""
    return next((kind for kind in kinds if text.startswith(kind)), "")


class ProgressLines:
    """Progress on stderr where that is not a terminal.

    A stage of epochs has a line when it begins, one for each epoch, and one when it ends. Other work has a line when it
    is first reported, at most one every 30 seconds, and its last.
    """

    def __init__(self, kinds: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        """Print nothing before the first report.

        Args:
            kinds: texts that begin with one of them are work of its own; all others are one.
            clock: returns seconds.
        """
        self._kinds, self._clock = kinds, clock
        self._lock = Lock()  # several boards report from threads of their own
        self._stage: _Stage | None = None
        self._work: dict[str, _Work] = {}

    def report(self, done: float, total: float, text: str) -> None:
        """Print what is due; see `ProgressCallback`.

        Args:
            done: amount of finished work.
            total: amount of all work, in the same unit.
            text: what is being done.
        """
        with self._lock, suppress(OSError):  # a closed pipe must not stop the work
            epoch, now = EPOCH.match(text), self._clock()
            if epoch is not None:
                self._report_epoch(epoch, now, done, total, text)
                return
            if self._stage is not None and self._stage.is_complete:
                self._end_stage()
            if text:
                key = kind_of(text, self._kinds)
                self._forget_others(key)
                self._work.setdefault(key, _Work()).report(now, done, total, text, at_end=bool(key))

    def stop(self) -> None:
        """Print the lines that were held back: work that was stopped shows how far it came."""
        with self._lock, suppress(OSError):
            self._end_stage()
            self._flush_work()

    def _report_epoch(self, epoch: re.Match[str], now: float, done: float, total: float, text: str) -> None:
        name, number = epoch[1], int(epoch[2])
        if self._stage is not None and not self._stage.goes_on(name, done, total):
            self._end_stage(another_begins=True)  # this one had fewer steps than it might have had
        if self._stage is None:
            self._flush_work()
            self._stage = _Stage(name, now, total)
            _print(f"{name} begins")
        self._forget_others(name)
        self._stage.report(now, number, done, text)

    def _end_stage(self, *, another_begins: bool = False) -> None:
        """Print the last lines of the stage; one that was stopped has not ended."""
        stage, self._stage = self._stage, None
        if stage is None:
            return
        stage.flush()
        if stage.is_complete or another_begins:
            _print(f"{stage.name} ends after {_time(stage.seconds)}")

    def _flush_work(self) -> None:
        for work in self._work.values():
            work.flush()

    def _forget_others(self, key: str) -> None:
        """Drop the held line of work without a kind: there is other news."""
        if key and "" in self._work:
            self._work[""].held = None


class _Stage:
    """The epochs of one stage; the last text of each is its line."""

    def __init__(self, name: str, began: float, total: float) -> None:
        self.name, self.seconds, self._began, self._total = name, 0.0, began, total
        self._number, self._done = 0, 0.0
        self._held: str | None = None
        self._pace = Pace()

    @property
    def is_complete(self) -> bool:
        """Return whether all of its steps are done."""
        return self._done >= self._total

    def goes_on(self, name: str, done: float, total: float) -> bool:
        """Return whether a report is of the same stage."""
        return (name, total) == (self.name, self._total) and done >= self._done

    def report(self, now: float, number: int, done: float, text: str) -> None:
        """Hold the text of a step back until the next epoch begins: its metric comes after its last step."""
        if number != self._number:
            self.flush()
        self._pace.add(now, done, self._total)
        self._number, self._done, self.seconds = number, done, now - self._began
        left = None if self.is_complete else self._pace.seconds_left(self._total)
        self._held = _with_time_left(text, left)

    def flush(self) -> None:
        """Print the line that is held back."""
        if self._held is not None:
            _print(self._held)
        self._held = None


class _Work:
    """Work without epochs."""

    def __init__(self) -> None:
        self.held: str | None = None
        self._printed = ""
        self._due = 0.0
        self._finished = False
        self._pace = Pace()

    def report(self, now: float, done: float, total: float, text: str, *, at_end: bool) -> None:
        """Print the text if a line is due, else hold it back.

        Args:
            now: time in seconds.
            done: amount of finished work.
            total: amount of all work.
            text: what is being done.
            at_end: print the first text of finished work at once.
        """
        was_finished, self._finished = self._finished, done >= total > 0
        self._pace.add(now, done, total)
        end_known = (done > 0 or total > 1) and total > 0
        line = f"{text}, {share_text(done, total)}" if end_known else text
        self.held = _with_time_left(line, None if self._finished else self._pace.seconds_left(total))
        if now >= self._due or (at_end and self._finished and not was_finished):
            self.flush()
            self._due = now + EVERY_S

    def flush(self) -> None:
        """Print the line that is held back, unless it says nothing new."""
        if self.held not in (None, self._printed):
            self._printed = str(self.held)
            _print(self._printed)
        self.held = None


def _with_time_left(text: str, seconds: float | None) -> str:
    return text if seconds is None else f"{text}, {_time(seconds)} left"


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _print(line: str) -> None:
    """Print a line on stderr at once; nothing in it is obeyed by a terminal."""
    import click

    click.echo(one_line(line), err=True)
