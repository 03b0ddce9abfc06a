"""Read JSON, TOML and lines of JSON from untrusted files, with bounds and one-line errors."""

import errno
import hashlib
import json
import re
import stat
import sys
from pathlib import Path
from typing import Any

from edgeprune.errors import EdgePruneError

# NUL and lone surrogates, except those that represent bytes of a file name that is not UTF-8.
_NO_TEXT = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")


DEEPEST = 64  # nesting of lists and objects; edgeprune writes 8 at most
LARGEST_INT = 2**63
LARGEST_YAML = 2**20  # bytes
LARGEST_FILE = 2**30  # bytes of JSON or TOML that are read at once; metrics of a long run are some 10 MB


def read_bytes(path: Path) -> bytes:
    """Read a regular file.

    Raises:
        OSError: it cannot be read, is a device or a fifo, which may never end, or is larger than `LARGEST_FILE`.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):  # a folder has its own error
        raise OSError(errno.EINVAL, "it is not a regular file")
    if status.st_size > LARGEST_FILE:
        raise OSError(errno.EFBIG, f"it is larger than {LARGEST_FILE >> 20} MB")
    return path.read_bytes()


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        EdgePruneError: the file is missing, cannot be read, or is not JSON; the message names it.
    """
    try:
        return parse_json(read_bytes(path))
    except FileNotFoundError as error:
        raise EdgePruneError(f"no such file: {path}") from error
    except OSError as error:
        raise EdgePruneError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise EdgePruneError(f"{path} is not readable JSON ({error}): was it cut or edited?") from error


def parse_json(content: str | bytes) -> Any:
    """Parse JSON strictly.

    Unlike Python's parser, this one refuses numbers that are not finite or do not fit 64 bits, duplicate keys, NUL
    characters and lone surrogates in text, and nesting beyond `DEEPEST`.

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
        seen: set[str] = set()  # counting each of a million keys in a list would take too long
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
    """Raise ValueError for values nested beyond `DEEPEST`, and for NUL or lone surrogates in text."""
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
    """Parse TOML; raises ValueError if it is invalid."""
    if sys.version_info >= (3, 11):  # in the standard library from 3.11 on
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_yaml(path: Path, error: type[EdgePruneError] = EdgePruneError) -> Any:
    """Read a YAML file of plain values: tags that stand for objects, and references within the file, are refused.

    Raises:
        EdgePruneError: of class ``error``: the file is missing, cannot be read, or is not such YAML; it is named.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            # A few lines of references to references stand for billions of values.
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("references (*name) are not read")
            return super().compose_node(parent, index)

    try:
        content = read_bytes(path)
        if len(content) > LARGEST_YAML:
            raise error(
                f"{path} has more than {LARGEST_YAML >> 20} MB: it should only name folders and classes"
            )
        return yaml.load(content, Loader)
    except OSError as fault:
        raise error(f"cannot read {path}: {fault.strerror or fault}") from fault
    except (yaml.YAMLError, ValueError, RecursionError) as fault:
        mark = getattr(fault, "problem_mark", None)
        place = f"{path}, line {mark.line + 1}" if mark else str(path)
        reason = getattr(fault, "problem", None) or (str(fault).splitlines() or ["nested too deeply"])[0]
        raise error(f"{place}: not readable YAML ({reason[:120]}): was it cut or edited?") from fault


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read the JSON objects of a file, one per line; an incomplete last line is left out.

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
    """Return the complete lines of a file with their numbers, from 1; none if there is no such file."""
    try:
        content = read_bytes(path)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise EdgePruneError(f"cannot read {path}: {error.strerror or error}") from error
    lines = content.split(b"\n")[:-1]  # what follows the last newline is incomplete
    return list(enumerate(lines, start=1))


def parse_json_object(line: bytes) -> dict[str, Any]:
    """Parse a line as a JSON object; raises ValueError if it is not one."""
    value = parse_json(line)
    if not isinstance(value, dict):
        raise ValueError("it is not an object")
    return value
