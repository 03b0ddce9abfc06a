"""Store built engines, each beside its record.

An engine runs only on the TensorRT version and the kind of GPU that built it (devices.md 5.1), so all of that is in
the record, and its digest in the file's name.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from edgeprune_target.errors import TargetError

SUFFIX = ".engine"
BLOCK = 1 << 20


def engine_folder() -> Path:
    """Return the folder of stored engines: $XDG_CACHE_HOME/edgeprune/engines, or below ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path("~").expanduser() / ".cache")
    return Path(base) / "edgeprune" / "engines"


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as handle:
        for block in iter(lambda: handle.read(BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


def key_of(**facts: Any) -> dict:
    """Return what an engine depends on, converted to JSON and back."""
    key: dict = json.loads(json.dumps(facts, sort_keys=True))
    return key


def place_of(folder: Path, stem: str, key: dict) -> Path:
    """Return the path of an engine.

    Args:
        folder: of stored engines.
        stem: of the file's name.
        key: what the engine depends on, as of `key_of`.
    """
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return folder / f"{stem}-{key['precision']}-{digest[:16]}{SUFFIX}"


def record_path(place: Path) -> Path:
    """Return the path of the record beside an engine."""
    return place.with_name(place.name + ".json")


def find_engine(place: Path, key: dict) -> dict | None:
    """Return the record of an intact engine for ``key``; None if there is none, or it is damaged."""
    try:
        record: dict = json.loads(record_path(place).read_text())
        if record["key"] == key and record["engine_sha256"] == sha256_of(place):
            return record
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    return None


def keep(place: Path, content: bytes, record: dict) -> dict:
    """Write an engine, then its record, each to a temporary file that is renamed; return the complete record.

    Args:
        place: path of the engine.
        content: the serialised engine.
        record: without schema, digest and size, which are added.

    Raises:
        TargetError: a file cannot be written; nothing is left half-written.
    """
    complete_record = {
        **record,
        "schema": 1,
        "engine_sha256": hashlib.sha256(content).hexdigest(),
        "engine_bytes": len(content),
    }
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        record_path(place).unlink() if record_path(place).exists() else None
        _write(place, content)
        _write(record_path(place), (json.dumps(complete_record, indent=2) + "\n").encode())
    except OSError as error:
        raise TargetError(
            f"cannot keep the engine {place}: {error.strerror}: free some space, or give another --engines"
        ) from error
    return complete_record


def forget(place: Path) -> None:
    """Remove an engine that does not load."""
    for path in (record_path(place), place):
        if path.exists():
            path.unlink()


def _write(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        aside.write_bytes(content)
        aside.replace(path)
    finally:
        if aside.exists():
            aside.unlink()
