"""Temporary folders that do not stay when their process is killed: the next process sweeps them.

A folder ``edgeprune-PID-...`` holds a file that its process keeps locked. The kernel lets go of the lock
however the process ends, and in a container, too, where process numbers mean nothing outside.
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
FORGOTTEN_S = 24 * 3600.0  # a folder without a lock is of an older version, or is being made just now


@contextmanager
def scratch_folder(base: str | None = None) -> Iterator[str]:
    """Yield a new temporary folder, which is removed at the end; those of dead processes go first.

    Args:
        base: where; None for the system's place, as of TMPDIR.
    """
    place = base or tempfile.gettempdir()
    sweep(place)
    folder = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=place)
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
    """The same for as long as this object lives; ``name`` is its path."""

    def __init__(self) -> None:
        """Make the folder."""
        opened = scratch_folder()
        self.name = opened.__enter__()
        self._finalizer = weakref.finalize(self, opened.__exit__, None, None, None)


def sweep(base: str) -> list:
    """Remove the folders below ``base`` whose process has ended; returns their names."""
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
    """Return the open file once its lock is ours; None if it is another's, or there are no locks here."""
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
