"""Writing files so that a reader sees the old content or the new, and never a part."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeprune.errors import EdgePruneError


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
    return EdgePruneError(f"cannot write {path}: {reasons.get(error.errno or 0, error.strerror or str(error))}")


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
