"""Make temporary folders that do not persist when their process is killed: the next process removes them.

A folder ``edgeprune-PID-...`` has a file that its process keeps locked. The kernel releases the lock however the
process ends, also in a container, where process numbers have no meaning outside.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

PREFIX = "edgeprune-"
LOCK = ".in-use"
FORGOTTEN_S = 24 * 3600.0  # a folder without a lock is of an earlier version, or is being created right now


@contextmanager
def scratch_folder(base: str | None = None) -> Iterator[str]:
    """Yield a new temporary folder, which is removed at the end; those of dead processes are removed first.

    Args:
        base: parent folder; None for the system's, as of TMPDIR.
    """
    parent = base or tempfile.gettempdir()
    sweep(parent)
    folder = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent)
    lock = _locked(Path(folder) / f"{LOCK}.new")
    if lock is not None:
        os.rename(f"{folder}/{LOCK}.new", f"{folder}/{LOCK}")  # it is never seen unlocked
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


class ScratchFolder:
    """A temporary folder that exists as long as this object; ``name`` is its path."""

    def __init__(self) -> None:
        """Make the folder."""
        opened = scratch_folder()
        self.name = opened.__enter__()
        self._finalizer = weakref.finalize(self, opened.__exit__, None, None, None)


def sweep(base: str) -> list:
    """Remove the folders below ``base`` whose process has ended, and return their names."""
    swept = []
    for folder in Path(base).glob(f"{PREFIX}*"):
        try:
            if folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != _user():
                continue
            lock = _locked(folder / LOCK, make=False) if (folder / LOCK).exists() else None
            if lock is None and not _forgotten(folder):
                continue
        except OSError:
            continue
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)
        swept.append(folder.name)
    return swept


def _user() -> Any:
    return os.getuid() if hasattr(os, "getuid") else 0


def _forgotten(folder: Path) -> bool:
    return not (folder / LOCK).exists() and time.time() - folder.stat().st_mtime > FORGOTTEN_S


def _locked(path: Path, make: bool = True) -> int | None:
    """Lock a file and return its descriptor; None if another process holds the lock, or locks are unsupported."""
    try:
        import fcntl
    except ImportError:
        return None
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if make else 0), 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle
