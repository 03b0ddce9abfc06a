"""The log of a row: its beginning, duration and outcome, written as they happen."""

import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edgeprune.comparison.folder import ComparisonFolder
from edgeprune.errors import EdgePruneError
from edgeprune.training import Interrupted

KILLED = "an attempt was killed, and how long it had run is not known"


@contextmanager
def attempt(folder: ComparisonFolder, name: str) -> Iterator[None]:
    """Log the beginning and the end of the block, which is an attempt at the row ``name``.

    The traceback of a bug is written to rows/NAME.txt. Every error is raised again.
    """
    folder.log(name, "began")
    started = time.perf_counter()
    outcome, reason = "stopped", None
    try:
        yield
        outcome = "done"
    except Interrupted:
        raise
    except EdgePruneError as error:
        outcome, reason = "failed", str(error)
        raise
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        outcome, reason = "failed", f"{type(error).__name__}: {first} (see rows/{name}.txt)"
        folder.keep_traceback(name, traceback.format_exc())
        raise
    finally:
        seconds = time.perf_counter() - started
        folder.log(name, "ended", outcome=outcome, reason=reason, seconds=seconds)


def seconds_spent(events: list[dict[str, Any]]) -> tuple[float | None, str | None]:
    """Sum the wall-clock time of all attempts at a row; returns None and the reason if it is unknown."""
    began = [event for event in events if event["event"] == "began"]
    ended = [event for event in events if event["event"] == "ended"]
    if not began:
        return None, "not begun yet"
    if len(ended) < len(began):
        return None, KILLED
    return sum(event["seconds"] for event in ended), None


def last_failure(events: list[dict[str, Any]]) -> str | None:
    """Return the reason of the last attempt's failure, or None if it did not fail."""
    ends = [event for event in events if event["event"] in ("began", "ended")]
    return ends[-1].get("reason") if ends else None
