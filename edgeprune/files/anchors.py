"""Watch the folders that a process works in: one that is moved or removed must not be made again at its old path."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeprune.errors import MovedError

_anchored: list[tuple[Path, tuple[int, int] | None]] = []


@contextmanager
def anchored(folder: Path) -> Iterator[None]:
    """Remember the folder's identity for `check_in_place` while the block lasts."""
    place = _absolute(folder)
    entry = (place, identity_of(place))
    _anchored.append(entry)
    try:
        yield
    finally:
        _anchored.remove(entry)


def check_in_place(path: Path) -> None:
    """Raise MovedError if ``path`` is in a folder that was moved or removed since work in it began."""
    place = _absolute(path)
    for folder, identity in _anchored:
        inside = folder == place or folder in place.parents
        if inside and identity is not None and identity_of(folder) != identity:
            raise MovedError(
                f"{folder} was moved or removed while it was in use: work stops, and nothing is written "
                "there; if it was moved, go on in its new place with --resume"
            )


def _absolute(path: Path) -> Path:
    """Return the path from the root without '..', links as they are: a link may be moved as well."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def identity_of(path: Path) -> tuple[int, int] | None:
    """Return (device, inode), which identify a file or folder beyond its path; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
