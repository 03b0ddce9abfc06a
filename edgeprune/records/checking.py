"""Check a value or a JSON file against its schema; an error names the file, the field and the remedy."""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from edgeprune.errors import EdgePruneError, RunError
from edgeprune.files.reading import numbered_lines, parse_json_object, read_json

logger = logging.getLogger(__name__)

_PLACE = re.compile(r"(?P<fault>.*?)(?: - at (?P<kind>`?key`? in )?`(?P<place>[^`]*)`)?", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]*)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>[^`]*)`")
_GOT = re.compile(r", got .*", re.DOTALL)
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]")
_WORDS = {"`": "", "array": "list", " | ": " or ", "str": "text"}
HINT = "was it cut or edited?"
SHOWN = 40  # characters of a value in a message


def read_record(
    path: Path,
    kind: Any,
    *,
    schema: int = 1,
    error: type[EdgePruneError] = RunError,
    hint: str = HINT,
    upgrade: Callable[[Any], Any] = lambda value: value,
) -> dict[str, Any]:
    """Read a JSON object and check it against its schema.

    Args:
        path: the file.
        kind: the schema: a msgspec struct, or a dataclass.
        schema: the schema number that this edgeprune writes, which is the newest it reads.
        error: class of the errors.
        hint: the remedy for an invalid file, added to the message.
        upgrade: converts a value of an earlier schema to this one, and returns any other unchanged.

    Returns:
        The object as a dict, including keys that the schema does not know.

    Raises:
        EdgePruneError: of class ``error``: the file is missing, not JSON, or does not match the schema.
    """
    value = upgrade(read_value(path, error=error, hint=hint))
    check_schema(value, path, schema=schema, error=error, hint=hint)
    return check(value, kind, path, error=error, hint=hint)


def read_value(path: Path, *, error: type[EdgePruneError] = RunError, hint: str = HINT) -> Any:
    """Read a JSON file, without a check of what is in it.

    Args:
        path: the file.
        error: class of the errors.
        hint: the remedy for an invalid file, added to the message.

    Raises:
        EdgePruneError: of class ``error``: the file is missing or not JSON.
    """
    try:
        return read_json(path)
    except EdgePruneError as fault:
        raise error(str(fault) if hint == HINT else f"{fault}; {hint}") from fault


def check_schema(
    value: Any,
    where: Path | str,
    *,
    schema: int = 1,
    error: type[EdgePruneError] = RunError,
    hint: str = HINT,
) -> None:
    """Check that ``value`` is an object whose schema number is ``schema``.

    Args:
        value: as read.
        where: the file, for the message.
        schema: the number that this edgeprune reads.
        error: class of the errors.
        hint: the remedy for a value without a valid number, added to the message.

    Raises:
        EdgePruneError: of class ``error``: it is not an object, or has no such number.
    """
    if not isinstance(value, dict):
        raise error(f"{where} does not hold a JSON object: {hint}")
    number = value.get("schema")
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise error(f"{where}: `schema` must be the number {schema} (it is {_short(number)}): {hint}")
    own_schema = f"this edgeprune reads {schema}"
    if number > schema:
        raise error(
            f"{where} has schema {number}, made by a newer edgeprune ({own_schema}): update edgeprune"
        )
    if number < schema:
        raise error(f"{where} has schema {number}, made by an older edgeprune ({own_schema}): {hint}")


def check(
    value: Any,
    kind: Any,
    where: Path | str,
    *,
    error: type[EdgePruneError] = RunError,
    hint: str = HINT,
) -> Any:
    """Check that ``value`` matches the schema ``kind``, and return it unchanged.

    Args:
        value: the content of a JSON or TOML file.
        kind: a type that msgspec knows.
        where: the file, for the message.
        error: class of the errors.
        hint: the remedy, added to the message.

    Raises:
        EdgePruneError: of class ``error``: the value does not match the schema.
    """
    converted(value, kind, where, error=error, hint=hint)
    return value


def converted(
    value: Any,
    kind: Any,
    where: Path | str,
    *,
    error: type[EdgePruneError] = RunError,
    hint: str = HINT,
) -> Any:
    """Return ``value`` as an instance of ``kind``.

    Args:
        value: the content of a JSON or TOML file.
        kind: a type that msgspec knows.
        where: the file, for the message.
        error: class of the errors.
        hint: the remedy, added to the message.

    Raises:
        EdgePruneError: of class ``error``: the value does not match the schema.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as fault:
        raise error(f"{where}: {explain(str(fault), value)}: {hint}") from fault
    except RecursionError as fault:
        raise error(f"{where} is nested too deeply: {hint}") from fault


def good_lines(path: Path, kind: Any) -> list[dict[str, Any]]:
    """Return the JSON objects of a file, one per line; lines that do not match ``kind`` are skipped with a warning.

    An incomplete last line is skipped without a warning: killed processes leave one.
    """
    objects, damaged = [], []
    for number, line in numbered_lines(path):
        try:
            value = parse_json_object(line)
            msgspec.convert(value, kind)
        except (ValueError, RecursionError):  # msgspec.ValidationError is a ValueError
            damaged.append(number)
        else:
            objects.append(value)
    if damaged:
        count = f"{len(damaged)} damaged line{'s' * (len(damaged) > 1)}"
        logger.warning("%s: left out %s (the first is line %d)", path, count, damaged[0])
    return objects


def explain(fault: str, value: Any) -> str:
    """Rewrite msgspec's message about ``value`` as a sentence: the field, what it must be, and what it is."""
    parts = _PLACE.fullmatch(fault)
    assert parts is not None
    what, place = parts["fault"], (parts["place"] or "$").removeprefix("$").removeprefix(".")
    missing = _MISSING.fullmatch(what)
    if missing:
        name = f"{place}.{missing['name']}" if place else missing["name"]
        return f"`{name}` is missing"
    subject = f"`{place}`" if place else "it"
    unknown = _UNKNOWN.fullmatch(what)
    if unknown:
        return f"{subject} has the unknown key {unknown['name'][:SHOWN]!r}"
    if parts["kind"]:
        subject = f"a key of {subject}"
    if not what.startswith("Expected "):
        return f"{subject} is wrong ({_cut(ascii(what)[1:-1], 2 * SHOWN)})"
    expected = _GOT.sub("", what.removeprefix("Expected "))
    for word, plain in _WORDS.items():
        expected = expected.replace(word, plain)
    return f"{subject} must be {expected}{_actual(value, place, parts['kind'])}"


def _actual(value: Any, place: str, is_key: str | None) -> str:
    """Return ' (it is VALUE)', or '' if the message does not identify the value."""
    if is_key or "..." in place:
        return ""
    for name, index in _STEP.findall(f".{place}" if place else ""):
        try:
            value = value[name] if name else value[int(index)]
        except (KeyError, IndexError, TypeError):
            return ""
    return f" (it is {_short(value)})"


def _short(value: Any) -> str:
    return _cut("null" if value is None else ascii(value), SHOWN)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
