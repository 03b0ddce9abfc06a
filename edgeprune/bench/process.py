"""One child process that answers in JSON lines, and never outlives the question."""

import json
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

from edgeprune.errors import BenchError

OnEvent = Callable[[dict[str, Any]], None]


def ignore_event(event: dict[str, Any]) -> None:
    """For callers that do not show progress."""


def ask(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, on_event: OnEvent = ignore_event
) -> Any:
    """Run ``command`` and return the ``result`` of its last JSON line; other events go to ``on_event``.

    Whatever ends this function early, Ctrl-C included, ends the child too. The child has its own session, so
    that the terminal's Ctrl-C comes here alone.

    Raises:
        BenchError: the child reports an error, ends without a result, or cannot be started.
    """
    with tempfile.TemporaryFile("w+") as stderr:
        try:
            child = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=dict(env) if env is not None else None,
                start_new_session=True,
            )
        except OSError as error:
            raise BenchError(f"cannot start {command[0]}: {error.strerror}") from error
        with EndedWithUs(child) as stdout:
            last = follow(stdout, on_event)
            code = child.wait()
        if last.get("event") == "result" and code == 0:
            return last["result"]
        if last.get("event") == "error":
            raise BenchError(str(last["message"]))
        raise BenchError(how_it_ended(code, stderr))


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
        if self.child.stdout:
            self.child.stdout.close()


def follow(lines: IO[str], on_event: OnEvent) -> dict[str, Any]:
    """Read events to the end; the last result or error is returned, the others are passed on."""
    last: dict[str, Any] = {}
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue  # a library printed something; what matters is whether a result comes
        if isinstance(event, dict) and event.get("event") in ("result", "error"):
            last = event
        elif isinstance(event, dict):
            on_event(event)
    return last


def how_it_ended(code: int, stderr: IO[str]) -> str:
    """One line on a child that gave no answer: the signal or exit code, and its last words."""
    stderr.seek(0)
    words = [line.strip() for line in stderr if line.strip()]
    said = words[-1] if words else "it printed nothing"
    if code == -signal.SIGKILL:
        return (
            f"the runner was killed from outside ({said}): most often the memory ran out; try a smaller batch"
        )
    if code < 0:
        return f"the runner died of {signal.Signals(-code).name} ({said})"
    return f"the runner stopped with exit code {code}: {said}"
