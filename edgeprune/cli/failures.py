"""What a person reads of an error: one line for mistakes and for what the machine refuses; None for bugs."""

import contextlib
import errno
import os
import re
import sys
from collections.abc import Iterator
from typing import TextIO

import click

from edgeprune.errors import EdgePruneError, one_line

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "bad allocation")
NO_MEMORY = "the machine's memory does not suffice: take a smaller batch, image or model"
MISMATCHED = (
    "torchvision is of another build than torch: install both by one command, from one index, as in "
    "pip install --force-reinstall torch torchvision --index-url https://download.pytorch.org/whl/cpu"
)

FIELD = re.compile("`([a-z_]+)(?:=([^`]*))?`")


@contextlib.contextmanager
def naming_options(command: click.Command) -> Iterator[None]:
    """Let the library's errors, which name fields, name the options of a command."""
    try:
        yield
    except EdgePruneError as error:
        error.args = (in_flags(str(error), command),)
        raise


def in_flags(message: str, command: click.Command) -> str:
    """Write each field that is named in backquotes as the command's own option; other text stays.

    `` `epochs` `` becomes ``--epochs``, `` `init=random` `` becomes ``--init random``, `` `latency=False` `` becomes
    ``--no-latency``.
    """
    options = {param.name: param for param in command.params if isinstance(param, click.Option)}

    def flag(match: re.Match[str]) -> str:
        name, value = match.groups()
        if name not in options:
            return match[0]
        option = options[name]
        if option.is_flag or value is None:
            return (option.secondary_opts if value == "False" else option.opts)[0]
        return f"{option.opts[0]} {value}"

    return FIELD.sub(flag, message)


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
    if isinstance(error, RuntimeError) and str(error).startswith("operator torchvision::"):
        return MISMATCHED
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
