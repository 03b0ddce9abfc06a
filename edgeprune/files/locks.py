"""Lock a folder for one process at a time, with a record of who holds the lock.

The lock is the operating system's, on the file `.lock`, so that it is released however its holder ends. A file beside
it names the holder. Both files are removed when the folder is released. Readers need no lock.
"""

import errno
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.errors import InUseError
from edgeprune.files.anchors import anchored, identity_of
from edgeprune.files.paths import explained, is_part, remove_tree
from edgeprune.files.writing import write_json
from edgeprune.processes.distributed import world

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK = ".lock"
WORKER = ".worker"  # locks of processes that share a folder begin with this
POLL_S = 0.5
TRIES = 3  # a lock file may vanish between being opened and being locked
UNSUPPORTED = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}


_log = logging.getLogger(__name__)


class FolderLock:
    """A lock on a folder, taken by `acquire` and freed by `release`."""

    def __init__(self, folder: Path, name: str = LOCK) -> None:
        self.folder, self.path = folder, folder / name
        self._lock: BaseFileLock | None = None
        self._identity: tuple[int, int] | None = None

    def acquire(self) -> bool:
        """Take the lock; return False if another process has it.

        Raises:
            StorageError: the folder cannot be written.
        """
        from filelock import FileLock, Timeout

        with explained(self.path):
            for _ in range(TRIES):
                self._lock = FileLock(str(self.path.absolute()), timeout=0, thread_local=False)
                try:
                    self._lock.acquire()
                except Timeout:
                    continue
                except (OSError, NotImplementedError) as error:
                    if not _is_unsupported(error):
                        raise
                    _log.warning("%s cannot be locked: let one process at a time work there", self.folder)
                self._identity = identity_of(self.path)
                try:
                    write_json(self.holder_path, _this_process())
                except BaseException:
                    self.release()
                    raise
                return True
            return False

    def release(self, *, keep_file: bool = False) -> None:
        """Free the folder and remove the lock's files, unless the folder was moved away."""
        if self._lock is None:
            return
        with suppress(OSError):
            if not keep_file and self._identity is not None and identity_of(self.path) == self._identity:
                self.holder_path.unlink(missing_ok=True)
                self.path.unlink(missing_ok=True)
        with suppress(OSError):
            self._lock.release()
        self._lock = None

    def holder(self) -> str:
        """Describe who holds the lock, as far as it is known."""
        return _described(self.holder_path)

    @property
    def holder_path(self) -> Path:
        """The file that names the holder."""
        return self.path.with_name(f"{self.path.name}.json")


@contextmanager
def held(
    folder: str | Path, *, wait: Callable[[str], None] | None = None, sweep: bool = True
) -> Iterator[None]:
    """Hold a folder's lock during the block, after removing half-written files of killed processes.

    Of processes that train together, the first holds the lock for all.

    Args:
        folder: must exist.
        wait: wait for the lock instead of refusing; called with one line that names the holder.
        sweep: whether to remove half-written files; not for folders with other contents.

    Raises:
        InUseError: another process holds the lock.
        StorageError: the folder cannot be written.
    """
    folder = Path(folder)
    if not world().is_main:
        yield
        return
    lock = FolderLock(folder)
    _take(lock, wait)
    try:
        if sweep:
            sweep_parts(folder)
        with anchored(folder):
            yield
    finally:
        lock.release()


@contextmanager
def held_file(path: Path) -> Iterator[None]:
    """Hold a lock on a single file during the block; the file need not exist yet.

    Raises:
        InUseError: another process holds it.
        StorageError: its folder cannot be written.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(path.parent, f".{path.name}{LOCK}")
    if not lock.acquire():
        raise InUseError(_refusal(path, lock))
    try:
        yield
    finally:
        lock.release()


@contextmanager
def shared(folder: str | Path) -> Iterator[None]:
    """Register as one of several processes that work in a folder, so that nobody replaces it meanwhile."""
    folder = Path(folder)
    free_dead_workers(folder)
    lock = FolderLock(folder, f"{WORKER}-{socket.gethostname()}-{os.getpid()}{LOCK}")
    lock.acquire()
    try:
        with anchored(folder):
            yield
    finally:
        lock.release()


def check_unused(folder: Path) -> None:
    """Raise InUseError if a process works in ``folder``, or in a folder within it."""
    for path in _lock_files(folder):
        lock = FolderLock(path.parent, path.name)
        holder = lock.holder()
        if not lock.acquire():
            raise InUseError(_refusal(path.parent, lock, holder))
        lock.release()


def is_held(folder: Path) -> bool:
    """Return whether a process holds ``folder``; nothing is written."""
    from filelock import FileLock, Timeout

    path = folder / LOCK
    if not path.exists():
        return False
    try:
        with FileLock(str(path.absolute()), timeout=0, thread_local=False):
            return False
    except (
        Timeout,
        NotImplementedError,
        OSError,
    ):  # what cannot be locked here is held as long as its file is there
        return True


def holder_mark(folder: Path) -> tuple[int, int] | None:
    """Return what differs between two holders of a folder, the file that names them; None where there is none."""
    with suppress(OSError):
        about = FolderLock(folder).holder_path.stat()
        return about.st_ino, about.st_mtime_ns
    return None


def free_dead_workers(folder: Path) -> None:
    """Remove the locks of killed workers."""
    for path in folder.glob(f"{WORKER}-*{LOCK}"):
        lock = FolderLock(folder, path.name)
        with suppress(OSError):
            if lock.acquire():
                lock.release()


def sweep_parts(folder: Path) -> None:
    """Remove half-written files of killed processes from a folder that this process holds."""
    for place in (folder, folder / "export", folder / "bench"):
        with suppress(OSError):
            for item in place.iterdir():
                if is_part(item):
                    remove_tree(item)


def _lock_files(folder: Path) -> list[Path]:
    return sorted([*folder.rglob(LOCK), *folder.rglob(f"{WORKER}-*{LOCK}")])


def _take(lock: FolderLock, wait: Callable[[str], None] | None) -> None:
    while not lock.acquire():
        if wait is None:
            raise InUseError(_refusal(lock.folder, lock))
        wait(f"waiting for {lock.holder()}")
        time.sleep(POLL_S)


def _refusal(path: Path, lock: FolderLock, holder: str = "") -> str:
    return f"{path} is in use by {holder or lock.holder()}: wait until it ends, or stop it"


def _this_process() -> dict[str, Any]:
    verb = next((word for word in sys.argv[1:2] if not word.startswith("-")), "")
    command = f"{Path(sys.argv[0]).name} {verb}".strip()  # without options, which may contain passwords
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"pid": os.getpid(), "host": socket.gethostname(), "command": command, "since": since}


def _described(path: Path) -> str:
    """Return 'process 12 on HOST since TIME (COMMAND)'."""
    try:
        record = json.loads(path.read_text())
        words = {name: _printable(record[name]) for name in ("pid", "host", "command", "since")}
    except (OSError, ValueError, TypeError, KeyError):
        return "another process"
    return "process {pid} on {host} since {since} ({command})".format(**words)


def _printable(value: Any) -> str:
    text = "".join(letter if letter.isprintable() else "?" for letter in str(value))
    return text if len(text) <= 120 else f"{text[:117]}..."


def _is_unsupported(error: Exception) -> bool:
    return isinstance(error, NotImplementedError) or getattr(error, "errno", None) in UNSUPPORTED
