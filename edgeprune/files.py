"""Writing files so that a reader sees the old content or the new, and never a part."""

import errno
import hashlib
import json
import os
import re
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
        return parse_json(path.read_bytes())
    except FileNotFoundError as error:
        raise EdgePruneError(f"no such file: {path}") from error
    except (OSError, ValueError) as error:
        raise EdgePruneError(f"{path} is not readable JSON ({error}): was it cut or edited?") from error


# Zero, and halves of characters; but not those that stand for bytes of a file name that is not UTF-8.
_NO_TEXT = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")
DEEPEST = 64  # lists and objects in each other; edgeprune writes 8 at most
LARGEST_INT = 2**63


def parse_json(content: str | bytes) -> Any:
    """Parse JSON strictly.

    Refused, though Python's parser lets it pass: numbers that are not finite or do not fit 64 bits, a key
    that stands twice in an object, zero characters and halves of characters in text, and nesting beyond
    `DEEPEST`.

    Raises:
        ValueError: it is not such JSON.
    """
    text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
    try:
        value = json.loads(
            text,
            object_pairs_hook=_without_duplicates,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_bounded,
        )
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    _check_nesting(value)
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:40]!r} stands twice")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _bounded(text: str) -> int:
    if len(text) > 20 or not -LARGEST_INT <= (value := int(text)) < LARGEST_INT:
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _check_nesting(value: Any) -> None:
    """Raise ValueError for values nested beyond `DEEPEST`, and for characters that no text has."""
    level, depth = [value], 0
    while level:
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item)
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
            elif isinstance(item, str) and _NO_TEXT.search(item):
                raise ValueError("a text in it has a character that no text has")
        level, depth = below, depth + 1
        if depth > DEEPEST:
            raise ValueError("it is nested too deeply")


def parse_toml(text: str) -> dict[str, Any]:
    """TOML; raises ValueError where it is none. The parser is in the standard library from 3.11 on."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


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
    """Read the JSON objects of a file, one a line; a last line that was cut is left out.

    Raises:
        EdgePruneError: a line is not a JSON object.
    """
    objects = []
    for number, line in numbered_lines(path):
        try:
            objects.append(parse_json_object(line))
        except ValueError as error:
            shown = line.strip()[:60].decode(errors="replace")
            raise EdgePruneError(f"{path} has a line that is not JSON: {shown!r} (line {number})") from error
    return objects


def numbered_lines(path: Path) -> list[tuple[int, bytes]]:
    """Return the complete lines of a file with their numbers, from 1 on; none if there is no such file."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise EdgePruneError(f"cannot read {path}: {error.strerror or error}") from error
    lines = content.split(b"\n")[:-1]  # what follows the last end of line was cut
    return list(enumerate(lines, start=1))


def parse_json_object(line: bytes) -> dict[str, Any]:
    """Parse a line that holds a JSON object; raises ValueError."""
    value = parse_json(line)
    if not isinstance(value, dict):
        raise ValueError("it is not an object")
    return value
