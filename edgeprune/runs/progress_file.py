"""Keep how far a run is in a file, for whoever watches it from another process."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from edgeprune.errors import StorageError
from edgeprune.processes.distributed import world
from edgeprune.processes.progress import Pace, ProgressCallback
from edgeprune.records.runs import ProgressRecord

FILE = "progress.json"
EVERY_S = 2.0  # between two versions of the file


class ProgressFile:
    """A progress callback that passes on what it is called with, and writes it to the run folder now and then."""

    def __init__(
        self, folder: Path, progress: ProgressCallback, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Write nothing before the first call.

        Args:
            folder: of the run.
            progress: called with (done, total, text).
            clock: returns seconds.
        """
        self._path, self._progress, self._clock = folder / FILE, progress, clock
        self._stage, self._later = "", None  # type: str, int | None
        self._pace = Pace()
        self._due = 0.0

    def begin_stage(self, name: str, later: int | None) -> None:
        """Name the stage of training that begins.

        Args:
            name: with which the texts of its steps begin.
            later: steps of the stages after it; None where they are unknown.
        """
        self._stage, self._later = name, later

    def __call__(self, done: float, total: float, text: str) -> None:
        """Pass on the progress, and write it where the last version is old, or of other work."""
        self._progress(done, total, text)
        if not world().is_main:
            return
        now = self._clock()
        if self._pace.add(now, done, (text.partition(" ")[0], total)):
            self._due = now
        if now >= self._due:
            self._due = now + EVERY_S
            with suppress(StorageError):  # whatever is the matter with the disk, what matters says it
                self._record(done, total, text).write(self._path)

    def _record(self, done: float, total: float, text: str) -> ProgressRecord:
        pace = self._pace.seconds_per_unit
        trains = bool(self._stage) and text.startswith(f"{self._stage} epoch ")
        later = self._later if trains else None
        return ProgressRecord(
            stage=self._stage if trains else None,
            text=text,
            done=max(0.0, done),
            total=max(0.0, total),
            left_s=self._pace.seconds_left(total),
            later_s=None if pace is None or later is None else pace * later,
            written=time.time(),
        )


def read_progress(folder: Path) -> ProgressRecord | None:
    """Return what a process wrote last of a run; None where there is nothing.

    Raises:
        RunError: the file is damaged.
    """
    path = folder / FILE
    return ProgressRecord.read(path, hint="remove it") if path.is_file() else None
