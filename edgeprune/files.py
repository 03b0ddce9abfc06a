"""Writing files so that a reader sees the old content or the new, and never a part."""

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edgeprune.anchors import check_in_place
from edgeprune.errors import EdgePruneError, RunError, StorageError

PART_AGE_S = 60.0  # a write that lives touches its file more often than this


def explain_os_error(error: OSError, path: Path) -> StorageError:
    """Say in one line why a disk refused to write ``path``."""
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


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary path; on success its content becomes that of ``path``, else it is removed.

    A regular file is replaced in one step and keeps its permissions. A symbolic link is followed and stays.
    What is written to a device, a pipe or a descriptor (`/dev/stdout`) goes into it.

    Raises:
        StorageError: the disk refuses.
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


def part_name(path: Path) -> str:
    """Return the name under which this process writes what is to become ``path``."""
    return f".{path.name}.{os.getpid()}.part"


def is_stream(path: Path) -> bool:
    """Return whether ``path`` takes bytes without being a file that could be replaced."""
    if _descriptor_of(path) is not None:
        return True
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def link_target(path: Path) -> Path:
    """Return the file that ``path`` means, behind all symbolic links; it need not exist.

    Raises:
        OSError: the links lead in a circle, or the file exists and may not be written.
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
    """Return the number of this process's descriptor that a name such as /dev/stdout stands for."""
    names = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
    if str(path) in names:
        return names[str(path)]
    folders = (Path("/dev/fd"), Path("/proc/self/fd"), Path(f"/proc/{os.getpid()}/fd"))
    return int(path.name) if path.parent in folders and path.name.isdecimal() else None


def _copy_into(aside: Path, path: Path) -> None:
    """Write the content of ``aside`` to a device, a pipe or a descriptor."""
    number = _descriptor_of(path)
    if number is None:
        descriptor = os.open(path, os.O_WRONLY)
    else:
        if sys.stdout is not None:
            sys.stdout.flush()  # what was printed earlier comes first
        descriptor = os.dup(number)
    with aside.open("rb") as source, os.fdopen(descriptor, "wb", buffering=0) as sink:
        for block in iter(lambda: source.read(1 << 20), b""):
            while block:
                block = block[sink.write(block) or 0 :]


def _rename_onto(aside: Path, target: Path) -> None:
    """Make ``aside``'s content that of ``target``, with the permissions that it has."""
    with aside.open("rb") as handle:
        os.fsync(handle.fileno())
    with suppress(FileNotFoundError):
        before = target.stat()
        aside.chmod(stat.S_IMODE(before.st_mode))
        with suppress(OSError):  # only root may give files away
            os.chown(aside, before.st_uid, before.st_gid)
    aside.replace(target)


def _sweep_parts_of(aside: Path) -> None:
    """Remove what killed processes of this machine left of the same file."""
    start = aside.name.removesuffix(f"{os.getpid()}.part")
    with suppress(OSError):
        for name in os.listdir(aside.parent):  # noqa: PTH208 (names alone, since a folder may be large)
            number = name.removeprefix(start).removesuffix(".part")
            if name == f"{start}{number}.part" and number.isdecimal():
                part = aside.with_name(name)
                if _is_abandoned(part, int(number)):
                    part.unlink()


def _is_abandoned(path: Path, pid: int) -> bool:
    """Return whether the process that wrote ``path`` is gone; one of another machine writes every minute."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return time.time() - path.stat().st_mtime > PART_AGE_S
    except OSError:
        return False
    return False


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the disk says while ``path`` is written into a StorageError."""
    try:
        yield
    except OSError as error:
        check_in_place(path)
        raise explain_os_error(error, path) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` aside and rename it into place."""
    with written_aside(path) as aside:
        aside.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, aside and renamed."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def read_bytes(path: Path) -> bytes:
    """Read a whole regular file.

    Raises:
        OSError: it cannot be read, is a device or a fifo, which may never end, or is above `LARGEST_FILE`.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):  # a folder has its own error
        raise OSError(errno.EINVAL, "it is not a regular file")
    if status.st_size > LARGEST_FILE:
        raise OSError(errno.EFBIG, f"it is larger than {LARGEST_FILE >> 20} MB")
    return path.read_bytes()


def read_json(path: Path) -> Any:
    """Read a JSON file; a broken one is an EdgePruneError that names it."""
    try:
        return parse_json(read_bytes(path))
    except FileNotFoundError as error:
        raise EdgePruneError(f"no such file: {path}") from error
    except OSError as error:
        raise EdgePruneError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise EdgePruneError(f"{path} is not readable JSON ({error}): was it cut or edited?") from error


# Zero, and halves of characters; but not those that stand for bytes of a file name that is not UTF-8.
_NO_TEXT = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")
DEEPEST = 64  # lists and objects in each other; edgeprune writes 8 at most
LARGEST_INT = 2**63
LARGEST_FILE = 2**30  # bytes of JSON or TOML that are read at once; metrics of a long run are some 10 MB


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
        seen: set[str] = set()  # a set: a count for each of a million keys would take for ever
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
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
    """Return whether this is a file or folder that was not finished."""
    return path.name.startswith(".") and path.name.endswith(".part")


def is_leftover(path: Path) -> bool:
    """Return whether this is a part, or a lock: neither is content."""
    return path.name.startswith(".") and path.name.endswith((".part", ".lock", ".lock.json"))


def remove_tree(path: Path) -> None:
    """Remove a file, a symbolic link (never what it leads to) or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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
    check_in_place(path)
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
        content = read_bytes(path)
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
