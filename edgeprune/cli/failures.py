"""What a person reads of an error: one line for mistakes and for what the machine refuses; None for bugs."""

import contextlib
import errno
import os
import sys
from typing import TextIO

from edgeprune.errors import EdgePruneError, one_line

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "bad allocation")
NO_MEMORY = "the machine's memory does not suffice: take a smaller batch, image or model"


def as_one_line(error: Exception) -> str | None:
    """Return the line for an error; None where it is a bug, whose traceback is to be shown.

    A closed pipe is left to click, which ends quietly.
    """
    if isinstance(error, EdgePruneError):
        return one_line(error)
    if isinstance(error, MemoryError):
        return NO_MEMORY
    if isinstance(error, RecursionError):
        return "something is nested too deeply: a JSON file, or the calls of a model's own code"
    if isinstance(error, UnicodeError):
        return one_line(f"a name or a file is not UTF-8 ({error}): rename or rewrite it")
    if isinstance(error, OSError):
        return None if error.errno == errno.EPIPE else _refused(error)
    if isinstance(error, RuntimeError) and any(words in str(error).lower() for words in OUT_OF_MEMORY):
        return NO_MEMORY
    return None


def _refused(error: OSError) -> str:
    """Return what the operating system refused, and where."""
    reason = error.strerror or str(error)
    if error.filename is None and error.errno in (errno.ENOSPC, errno.EIO, errno.EBADF, errno.EDQUOT):
        _silence(sys.stdout)
        return f"cannot write to the standard output: {reason}"
    where = "" if error.filename is None else f"{error.filename}: "
    return one_line(f"{where}{reason}")


def _silence(stream: TextIO) -> None:
    """Send what is still to be flushed nowhere, so that the end of the process says nothing more of it."""
    with contextlib.suppress(OSError, ValueError):  # a stream without a descriptor has nothing to flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
