"""Lines of the user's code, for messages."""

import linecache
import os
import sys
from functools import lru_cache
from pathlib import Path

import torch

UNKNOWN = "an unknown line"

_OWN = f"{Path(torch.__file__).parent}{os.sep}"
_HERE = tuple(f"{Path(__file__).parents[1] / room}{os.sep}" for room in ("recording", "graph", "rewrite"))


def user_line() -> str:
    """Return 'file:line: code' of the innermost running frame that is neither torch's nor ours."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not _is_passed(name):
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return ""


@lru_cache(maxsize=1 << 12)
def _is_passed(name: str) -> bool:
    """Tell whether a file's frames are torch's, ours, or of no file."""
    return name.startswith((_OWN, *_HERE, "<"))


def with_code(line: str) -> str:
    """Add the code to 'file:line'."""
    name, _, number = line.rpartition(":")
    code = linecache.getline(name, int(number)).strip() if number.isdigit() else ""
    return f"{line}: {code}" if code else line or UNKNOWN


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type if the message is empty."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def raised_at(error: BaseException) -> str:
    """Return the innermost frame of an error's traceback that is the user's own code."""
    import traceback

    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not _is_passed(frame.filename):
            return f"{frame.filename}:{frame.lineno}: {frame.line}"
    return UNKNOWN


def at_line(error: BaseException) -> str:
    """Return " at FILE:LINE: CODE" of the user's own code that raised an error; '' where none of it did."""
    line = raised_at(error)
    return "" if line == UNKNOWN else f" at {line}"
