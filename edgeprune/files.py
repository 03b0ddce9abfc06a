"""Writing files so that a reader sees the old content or the new, and never a part."""

import errno
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edgeprune.errors import EdgePruneError, RunError


def explain_os_error(error: OSError, path: Path) -> EdgePruneError:
    """One line for the ways a disk says no."""
    reasons = {
        errno.ENOSPC: "the disk is full: free some space, then run the command again",
        errno.EDQUOT: "your disk quota is used up: free some space, then run the command again",
        errno.EACCES: "no permission to write there: choose another folder or change its permissions",
        errno.EPERM: "no permission to write there: choose another folder or change its permissions",
        errno.EROFS: "that file system is read-only: choose another folder",
        errno.ENOTDIR: "a part of that path is a file, not a folder: choose another folder",
    }
    reason = reasons.get(error.errno or 0, error.strerror or str(error))
    return EdgePruneError(f"cannot write {path}: {reason}")


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is renamed into place, else removed.

    Raises EdgePruneError when the disk refuses.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        with aside.open("rb") as handle:
            os.fsync(handle.fileno())
        aside.replace(path)
    except OSError as error:
        raise explain_os_error(error, path) from error
    finally:
        aside.unlink(missing_ok=True) if aside.parent.is_dir() else None


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the disk says while ``path`` is written into an EdgePruneError."""
    try:
        yield
    except OSError as error:
        raise explain_os_error(error, path) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` aside and rename it into place."""
    with written_aside(path) as aside:
        aside.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, aside and renamed."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file; a broken one is an EdgePruneError that names it."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise EdgePruneError(f"no such file: {path}") from error
    except (OSError, ValueError) as error:
        raise EdgePruneError(f"{path} is not readable JSON ({error}): was it cut or edited?") from error


def parse_toml(text: str) -> dict[str, Any]:
    """TOML; raises ValueError where it is none. The parser is in the standard library from 3.11 on."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)


def sha256(path: str | Path) -> str:
    """Hash of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def is_part(path: Path) -> bool:
    """Whether this is a file that `written_aside` had not finished."""
    return path.name.startswith(".") and path.name.endswith(".part")


def check_folder_free(path: Path, marker: str, what: str, *, force: bool) -> None:
    """Raise RunError unless `folder_aside` may make a folder at ``path``; nothing is changed."""
    with explained(path):
        if not path.exists() or (path.is_dir() and all(is_part(item) for item in path.iterdir())):
            return
    if not (path / marker).is_file():
        raise RunError(f"{path} exists and is not a {what}'s folder: choose another --out")
    if not force:
        raise RunError(
            f"{path} exists: go on with --resume, start it anew with --force, or choose another --out"
        )


@contextmanager
def folder_aside(path: Path, marker: str, what: str, *, force: bool) -> Iterator[Path]:
    """A new folder beside ``path``, renamed into place when the block ends without an error.

    Args:
        path: where it is to be.
        marker: a file by which a folder of this kind is known.
        what: the kind, for messages.
        force: replace one of the kind.

    Raises:
        RunError: there is one and ``force`` is off, or something else is there.
    """
    check_folder_free(path, marker, what, force=force)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    parents = [parent for parent in aside.parents if not parent.exists()]
    try:
        yield aside
        with explained(path):
            if path.exists():
                shutil.rmtree(path)
            aside.replace(path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        with suppress(OSError):  # one that holds something stays, and those above it
            for parent in parents:
                parent.rmdir()


def check_links(folder: Path) -> None:
    """Raise RunError where a link inside of ``folder`` leads out of it, to what would be written to."""
    home = folder.resolve()
    places = [folder, *(folder / name for name in ("export", "bench", "tensorboard"))]
    items = [item for place in places if place.is_dir() for item in place.iterdir()]
    for item in items:
        if item.is_symlink() and not item.resolve().is_relative_to(home):
            raise RunError(f"{item} is a link to a place outside of {folder}: put a copy there instead")


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Append one JSON line in a single write, whole or not at all."""
    line = (json.dumps(record) + "\n").encode()
    with explained(path), path.open("ab", buffering=0) as handle:
        size = handle.seek(0, os.SEEK_END)
        try:
            written = handle.write(line)
            if written < len(line):
                handle.write(line[written:])  # a disk that was just filled says so here
        except OSError:
            handle.truncate(size)
            raise


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole JSON lines of a file; a last line that was cut is left out."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            try:
                found.append(json.loads(line))
            except ValueError as error:
                raise EdgePruneError(f"{path} has a line that is not JSON: {line.strip()[:60]!r}") from error
    return found
