"""Run a child process that answers in JSON lines, and never let it outlive the call."""

import json
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

from edgeprune.errors import BenchError

MOST_CHARACTERS = 1 << 28  # of a child's output: a million samples are some 10 MB
LAST_WORDS_BYTES = 1 << 16

OnEvent = Callable[[dict[str, Any]], None]
Ended = Callable[[int, Sequence[str]], BenchError]


def ignore_event(event: dict[str, Any]) -> None:
    """Ignore an event: for callers that do not show progress."""


def ask(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    on_event: OnEvent = ignore_event,
    ended: Ended | None = None,
    hold: bool = False,
) -> Any:
    """Run ``command`` and return the ``result`` of its last JSON line; other events go to ``on_event``.

    Whatever ends this function early, Ctrl-C included, ends the child too. The child has its own session, so
    that the terminal's Ctrl-C comes here alone.

    Args:
        command: the program and its arguments.
        env: the child's environment; None for ours.
        on_event: called with every event but the last.
        ended: makes the error for a child that gave no answer, from its exit code and its last lines.
        hold: keep the child's standard input open until it ends, so that it can see when we are gone.

    Raises:
        BenchError: the child reports an error, ends without a result, or cannot be started.
    """
    with tempfile.TemporaryFile() as stderr:
        child = start_child(command, subprocess.PIPE if hold else subprocess.DEVNULL, stderr, env)
        with EndedWithUs(child) as stdout:
            last = follow(stdout, on_event)
            code = child.wait()
        if last.get("event") == "result" and code == 0 and "result" in last:
            return last["result"]
        if last.get("event") == "error" and last.get("message"):
            raise BenchError(printable_line(str(last["message"])))
        raise (ended or exit_error)(code, output_tail(stderr).splitlines())


def output_tail(file: IO[bytes]) -> str:
    """Return the end of what a child wrote, at most ``LAST_WORDS_BYTES`` of it."""
    size = file.seek(0, 2)
    file.seek(max(0, size - LAST_WORDS_BYTES))
    return file.read().decode(errors="replace")


def run_to_end(command: Sequence[str]) -> tuple[int, list[str]]:
    """Run ``command`` to its end; return its exit code, and the lines of both its outputs, mixed.

    Raises:
        BenchError: it cannot be started.
    """
    child = start_child(command, subprocess.DEVNULL, subprocess.STDOUT)
    with EndedWithUs(child) as stdout:
        output_lines = [line.rstrip("\r\n") for line in lines_of(stdout)]
        return child.wait(), output_lines


def start_child(
    command: Sequence[str], stdin: int, stderr: int | IO[bytes], env: Mapping[str, str] | None = None
) -> "subprocess.Popen[str]":
    """Start a child in a session of its own, its standard output a pipe.

    Args:
        command: the program and its arguments.
        stdin: as for ``subprocess.Popen``.
        stderr: as for ``subprocess.Popen``.
        env: the child's environment; None for ours.

    Raises:
        BenchError: it cannot be started.
    """
    try:
        return subprocess.Popen(
            list(command),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            errors="replace",
            env=dict(env) if env is not None else None,
            start_new_session=True,
        )
    except OSError as error:
        raise BenchError(f"cannot start {command[0]}: {error.strerror}") from error


class EndedWithUs:
    """Kills the child, if it still runs, when the block is left in any way."""

    def __init__(self, child: "subprocess.Popen[str]") -> None:
        self.child = child

    def __enter__(self) -> IO[str]:
        assert self.child.stdout is not None
        return self.child.stdout

    def __exit__(self, *reason: object) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        for channel in (self.child.stdin, self.child.stdout):
            if channel:
                channel.close()


def follow(lines: IO[str], on_event: OnEvent) -> dict[str, Any]:
    """Read events to the end; return the last result or error, and pass the others on."""
    last: dict[str, Any] = {}
    for line in lines_of(lines):
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue  # a library printed something; what matters is whether a result comes
        if isinstance(event, dict) and event.get("event") in ("result", "error"):
            last = event
        elif isinstance(event, dict):
            on_event(event)
    return last


def lines_of(stdout: IO[str]) -> Iterator[str]:
    """Yield the lines that a child prints.

    Raises:
        BenchError: it prints without end.
    """
    total = 0
    while line := stdout.readline(MOST_CHARACTERS):
        total += len(line)
        if total >= MOST_CHARACTERS:
            raise BenchError(
                f"it printed more than {MOST_CHARACTERS / 1e6:g} MB ({printable_line(line, 40)}): what answers "
                "there is not edgeprune's runner"
            )
        yield line


def printable_line(text: str, most: int = 500) -> str:
    """Return text without control characters, which a terminal would obey, as one line of bounded length.

    Args:
        text: anything.
        most: characters.
    """
    plain = "".join(sign if sign.isprintable() else " " for sign in text[: 4 * most])
    line = " ".join(plain.split())
    return line if len(line) <= most else f"{line[:most]} ..."


def exit_error(code: int, output_lines: Sequence[str]) -> BenchError:
    """Return the error for a child that gave no answer: signal or exit code, and its last line."""
    last = last_line(output_lines)
    if code == -signal.SIGKILL:
        return BenchError(
            f"the runner was killed from outside ({last}): most often the memory ran out; try a smaller batch"
        )
    if code < 0:
        return BenchError(f"the runner died of {signal_name(-code)} ({last})")
    return BenchError(f"the runner stopped with exit code {code}: {last}")


def signal_name(number: int) -> str:
    """Return a signal's name; most real-time signals have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def last_line(output_lines: Sequence[str]) -> str:
    """Return the last line that is not empty."""
    return next((line for line in map(printable_line, reversed(output_lines)) if line), "it printed nothing")
