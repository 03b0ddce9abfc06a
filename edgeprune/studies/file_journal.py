"""The journal of a study in a file: a last line that a killed worker left incomplete ends no search."""

from pathlib import Path

from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from edgeprune.files.writing import drop_cut_line


class _Lock(JournalFileSymlinkLock):
    """Optuna's lock, which leaves the file with complete lines to who holds it.

    Optuna reads past an incomplete last line, but joins the next entry to it, and then the file cannot be read any
    more. While the lock is held nobody writes, so that such a line is no other worker's entry under way.
    """

    def acquire(self) -> bool:
        """Wait for the lock, then truncate an incomplete last line."""
        acquired = super().acquire()
        try:
            drop_cut_line(Path(self._lock_target_file))
        except BaseException:
            self.release()
            raise
        return acquired


def file_journal(path: Path) -> JournalFileBackend:
    """Return a study's journal in a file, which stays usable after a worker was killed while it wrote.

    What the incomplete line said did not happen: the trial that it ended, say, is given up and done again.
    """
    return JournalFileBackend(path.as_posix(), lock_obj=_Lock(path.as_posix()))
