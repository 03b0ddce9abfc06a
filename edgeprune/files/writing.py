"""Write files so that a reader sees either the old content or the new, and never a part of it."""

import json
import logging
import os
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edgeprune.files.anchors import check_in_place
from edgeprune.files.paths import (
    _descriptor_of,
    explain_os_error,
    explained,
    is_stream,
    link_target,
    part_name,
)

logger = logging.getLogger(__name__)

BLOCK = 1 << 16  # bytes that are read at once in search of the last newline
PART_AGE_S = 60.0  # a living process touches its file more often than this


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary path; on success its content becomes that of ``path``, otherwise it is removed.

    A regular file is replaced atomically and keeps its permissions. A symbolic link is followed and kept.
    For a device, a pipe or a descriptor (`/dev/stdout`), the content is copied into it.

    Raises:
        StorageError: the file cannot be written.
    """
    check_in_place(path)
    try:
        stream = is_stream(path)
        target = path if stream else link_target(path)
        folder = Path(tempfile.gettempdir()) if stream else target.parent
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / part_name(target)
        _sweep_parts_of(aside)
        try:
            yield aside
            _copy_into(aside, path) if stream else _rename_onto(aside, target)
        finally:
            with suppress(OSError):
                aside.unlink(missing_ok=True)
    except OSError as error:
        check_in_place(path)
        raise explain_os_error(error, path) from error


def _copy_into(aside: Path, path: Path) -> None:
    """Write the content of ``aside`` to a device, a pipe or a descriptor."""
    number = _descriptor_of(path)
    if number is None:
        descriptor = os.open(path, os.O_WRONLY)
    else:
        if sys.stdout is not None:
            sys.stdout.flush()  # earlier output comes first
        descriptor = os.dup(number)
    with aside.open("rb") as source, os.fdopen(descriptor, "wb", buffering=0) as sink:
        for block in iter(lambda: source.read(1 << 20), b""):
            while block:
                block = block[sink.write(block) or 0 :]


def _rename_onto(aside: Path, target: Path) -> None:
    """Replace ``target`` by ``aside``, keeping its permissions."""
    with aside.open("rb") as handle:
        os.fsync(handle.fileno())
    with suppress(FileNotFoundError):
        before = target.stat()
        aside.chmod(stat.S_IMODE(before.st_mode))
        with suppress(OSError):  # only root may change a file's owner
            os.chown(aside, before.st_uid, before.st_gid)
    aside.replace(target)


def _sweep_parts_of(aside: Path) -> None:
    """Remove unfinished copies of the same file by killed processes of this machine."""
    start = aside.name.removesuffix(f"{os.getpid()}.part")
    with suppress(OSError):
        for name in os.listdir(aside.parent):  # noqa: PTH208 (names only, since a folder may be large)
            number = name.removeprefix(start).removesuffix(".part")
            if name == f"{start}{number}.part" and number.isdecimal():
                part = aside.with_name(name)
                if _is_abandoned(part, int(number)):
                    part.unlink()


def _is_abandoned(path: Path, pid: int) -> bool:
    """Return whether the process that wrote ``path`` has ended; a process of another machine writes every minute."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return time.time() - path.stat().st_mtime > PART_AGE_S
    except OSError:
        return False
    return False


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to a temporary file and rename it to ``path``."""
    with written_aside(path) as aside:
        aside.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON to a temporary file and rename it to ``path``."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def drop_cut_line(path: Path) -> None:
    """Truncate an incomplete last line, which a killed process left, so that the next one is not joined to it.

    Args:
        path: of a file of lines that no other process writes to now; it need not exist.

    Raises:
        StorageError: the file cannot be read or written.
    """
    with explained(path), suppress(FileNotFoundError), path.open("r+b") as handle:
        size = handle.seek(0, os.SEEK_END)
        end = size
        while end and (block := min(end, BLOCK)):
            handle.seek(end - block)
            newline = handle.read(block).rfind(b"\n")
            end = end - block + newline + 1
            if newline >= 0:
                break
        if end < size:
            logger.warning("%s: its last line was cut, as by a kill, and is left out", path)
            handle.truncate(end)


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Append one JSON line in a single write, completely or not at all; an incomplete last line is truncated first."""
    check_in_place(path)
    drop_cut_line(path)
    line = (json.dumps(record) + "\n").encode()
    with explained(path), path.open("ab", buffering=0) as handle:
        size = handle.seek(0, os.SEEK_END)
        try:
            written = handle.write(line)
            if written < len(line):
                handle.write(line[written:])  # raises if the disk is full
        except OSError:
            handle.truncate(size)
            raise
