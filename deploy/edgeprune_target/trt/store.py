"""Engines that were built before, each beside a record of what it is.

An engine runs only on the TensorRT and the kind of GPU that built it (devices.md 5.1), so all of that is in
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
    """Where engines are kept on this machine: $XDG_CACHE_HOME/edgeprune/engines, or below ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path("~").expanduser() / ".cache")
    return Path(base) / "edgeprune" / "engines"


def sha256_of(path: str | Path) -> str:
    """Of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as handle:
        for block in iter(lambda: handle.read(BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


def key_of(**facts: Any) -> dict:
    """What an engine depends on, as JSON gives it back."""
    key: dict = json.loads(json.dumps(facts, sort_keys=True))
    return key


def place_of(folder: Path, stem: str, key: dict) -> Path:
    """The engine's file for ``key``."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return folder / f"{stem}-{key['precision']}-{digest[:16]}{SUFFIX}"


def record_of(place: Path) -> Path:
    """The small JSON beside an engine."""
    return place.with_name(place.name + ".json")


def find(place: Path, key: dict) -> dict | None:
    """The record of a whole engine for ``key``; None when there is none, or it is broken."""
    try:
        record: dict = json.loads(record_of(place).read_text())
        if record["key"] == key and record["engine_sha256"] == sha256_of(place):
            return record
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    return None


def keep(place: Path, content: bytes, record: dict) -> dict:
    """Write an engine and its record, the record last, each aside and renamed; the record as it was written.

    Raises:
        TargetError: the disk refuses; nothing is left half-written.
    """
    whole = {
        **record,
        "schema": 1,
        "engine_sha256": hashlib.sha256(content).hexdigest(),
        "engine_bytes": len(content),
    }
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        record_of(place).unlink() if record_of(place).exists() else None
        _write(place, content)
        _write(record_of(place), (json.dumps(whole, indent=2) + "\n").encode())
    except OSError as error:
        raise TargetError(
            f"cannot keep the engine {place}: {error.strerror}: free some space, or give another --engines"
        ) from error
    return whole


def forget(place: Path) -> None:
    """Remove an engine that does not load."""
    for path in (record_of(place), place):
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
