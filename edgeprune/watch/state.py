"""What a run is doing, by what its folder holds."""

import shlex
import time
from dataclasses import dataclass
from pathlib import Path

from edgeprune.errors import RunError
from edgeprune.files.locks import holder_mark, is_held
from edgeprune.records.runs import ProgressRecord
from edgeprune.runs.folders import is_occupied
from edgeprune.runs.points import FOLDER
from edgeprune.runs.progress_file import read_progress
from edgeprune.runs.run import Run

WAITING, RUNNING, STOPPED, FINISHED = "waiting", "running", "stopped", "finished"
QUIET_S = 30.0  # without progress, after which that is said


@dataclass(frozen=True)
class State:
    """What a run is doing.

    Attributes:
        kind: WAITING to start, RUNNING, STOPPED before its end, or FINISHED.
        text: one sentence.
        progress: what the process wrote last; None where there is nothing.
    """

    kind: str
    text: str
    progress: ProgressRecord | None = None


class WatchedRun:
    """A run folder, there or to come, and the process that trains in it.

    Attributes:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        """Take a folder.

        Raises:
            RunError: something else is there.
        """
        self.path = path
        self._dead: tuple[int, int] | None = None
        if is_occupied(path):
            Run.open(path)

    def run(self) -> Run | None:
        """Return the run; None before it is made.

        Raises:
            RunError: its config.json is damaged.
        """
        return Run.open(self.path) if (self.path / "config.json").is_file() else None

    def in_training(self, run: Run) -> Run:
        """Return the run that trains: of a run that tries several networks, that of the last one, once it is there."""
        numbers = [
            int(path.parent.name)
            for path in (run.path / FOLDER).glob("*/config.json")
            if path.parent.name.isascii() and path.parent.name.isdigit()
        ]
        return Run.open(run.path / FOLDER / str(max(numbers))) if numbers else run

    def state(self) -> State:
        """Return what the run is doing.

        Raises:
            RunError: a file is damaged.
        """
        run = self.run()
        if run is None:
            return State(
                WAITING,
                f"{self.path} is not there yet: it appears once train-prune has checked its options and, for a device, "
                "has its latency table.",
            )
        if run.has("summary.json"):
            return State(FINISHED, "Finished.")
        progress = _progress_of(self.in_training(run)) or _progress_of(run)
        if self._is_held():
            return State(RUNNING, _activity(progress), progress)
        command = f"edgeprune train-prune --out {shlex.quote(str(self.path))} --resume"
        return State(STOPPED, f"Stopped before its end; go on with: {command}", progress)

    def _is_held(self) -> bool:
        """Return whether a process trains there; a dead one's lock is tried once, not to be in the next one's way."""
        mark = holder_mark(self.path)
        if mark is not None and mark == self._dead:
            return False
        if is_held(self.path):
            return True
        self._dead = mark
        return False


def _progress_of(run: Run) -> ProgressRecord | None:
    try:
        return read_progress(run.path)
    except RunError:  # removed between two calls
        return None


def _activity(progress: ProgressRecord | None) -> str:
    """Return what a process is doing, in a sentence."""
    if progress is None:
        return "Starting."
    quiet = time.time() - progress.written
    since = f"; nothing new for {duration(quiet)}" if quiet > QUIET_S else ""
    return f"{progress.text[:1].upper()}{progress.text[1:]}{since}."


def duration(seconds: float) -> str:
    """Return a time in words, in the unit that suits it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"
