"""Resolve links, explain errors of the file system, and remove trees."""

import errno
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeprune.errors import RunError, StorageError
from edgeprune.files.anchors import check_in_place


def explain_os_error(error: OSError, path: Path) -> StorageError:
    """Return an error that says in one line why ``path`` could not be written."""
    reasons = {
        errno.ENOSPC: "the disk is full: free some space, then run the command again",
        errno.EDQUOT: "your disk quota is used up: free some space, then run the command again",
        errno.EACCES: "no permission to write there: choose another folder or change its permissions",
        errno.EPERM: "no permission to write there: choose another folder or change its permissions",
        errno.EROFS: "that file system is read-only: choose another folder",
        errno.ENOTDIR: "a part of that path is a file, not a folder: choose another folder",
        errno.EEXIST: "a part of that path is a file, not a folder: choose another folder",
        errno.EISDIR: "it is a folder: give the name of a file",
        errno.ELOOP: "its symbolic links lead in a circle: choose another place",
        errno.EIO: "Input/output error: check the disk, or choose another",
    }
    reason = reasons.get(error.errno or 0, error.strerror or str(error))
    return StorageError(f"cannot write {path}: {reason}")


def part_name(path: Path) -> str:
    """Return the temporary name under which this process writes ``path``."""
    return f".{path.name}.{os.getpid()}.part"


def is_stream(path: Path) -> bool:
    """Return whether ``path`` is a device, pipe or descriptor, which is written to instead of being replaced."""
    if _descriptor_of(path) is not None:
        return True
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def link_target(path: Path) -> Path:
    """Return the file that ``path`` refers to, with all symbolic links resolved; it need not exist.

    Raises:
        OSError: the links form a cycle, or the file exists and is not writable.
    """
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if target.is_dir():
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if target.exists() and not os.access(target, os.W_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    return target


def _descriptor_of(path: Path) -> int | None:
    """Return the number of this process's descriptor that a name such as /dev/stdout denotes."""
    names = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
    if str(path) in names:
        return names[str(path)]
    folders = (Path("/dev/fd"), Path("/proc/self/fd"), Path(f"/proc/{os.getpid()}/fd"))
    return int(path.name) if path.parent in folders and path.name.isdecimal() else None


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an OSError while ``path`` is written into a StorageError."""
    try:
        yield
    except OSError as error:
        check_in_place(path)
        raise explain_os_error(error, path) from error


def is_part(path: Path) -> bool:
    """Return whether this is the name of an unfinished file or folder."""
    return path.name.startswith(".") and path.name.endswith(".part")


def is_leftover(path: Path) -> bool:
    """Return whether this is the name of an unfinished file or a lock, which are not contents."""
    return path.name.startswith(".") and path.name.endswith((".part", ".lock", ".lock.json"))


def remove_tree(path: Path) -> None:
    """Remove a file, a symbolic link (never its target) or a folder with its contents."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def check_links(folder: Path) -> None:
    """Raise RunError if a link inside ``folder`` points outside, where files would be written."""
    home = folder.resolve()
    places = [folder, *(folder / name for name in ("export", "bench", "tensorboard"))]
    items = [item for place in places if place.is_dir() for item in place.iterdir()]
    for item in items:
        if item.is_symlink() and not item.resolve().is_relative_to(home):
            raise RunError(f"{item} is a link to a place outside of {folder}: put a copy there instead")


def file_word(name: str) -> str:
    """Return a name, such as a host's, as a part of a file's name."""
    return re.sub(r"[^\w.@+-]", "-", name)
