"""Handle the signals that stop a process: Ctrl-C, SIGTERM of a scheduler, SIGHUP of a closed terminal."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))

_received: list[int] = []  # signals that stop this process, in order of arrival


class Stopped(KeyboardInterrupt):
    """Raised by a signal that stops the process at once; clean-up runs as after Ctrl-C."""


def exit_code() -> int:
    """Return the exit code of a process that a signal stopped: 130, 143 or 129."""
    return 128 + (_received[0] if _received else signal.SIGINT)


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether a signal requested to stop after the current step.

    A second Ctrl-C stops at once. SIGTERM and SIGHUP never do: a closing terminal sends several.
    """
    stop_requested = False

    def request_stop(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
        nonlocal stop_requested
        _received.append(signum)
        if stop_requested and signum == signal.SIGINT:
            raise Stopped
        stop_requested = True

    with _handled_by(request_stop, (signal.SIGINT, *ENDING)) as handled:
        yield (lambda: stop_requested) if handled else (lambda: False)


@contextmanager
def stop_at_once() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does, instead of killing the process without clean-up."""
    _received.clear()

    def stop(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
        _received.append(signum)
        if len(_received) == 1:  # a second signal must not interrupt the clean-up of the first
            raise Stopped

    with _handled_by(stop, ENDING):
        yield


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None], signals: tuple[int, ...]) -> Iterator[bool]:
    """Install a handler for the block; False outside the main thread, where signals are left alone."""
    before: dict[int, Any] = {}
    try:
        for signum in signals:
            if signum != signal.SIGINT and signal.getsignal(signum) is signal.SIG_IGN:
                continue  # nohup: the process keeps running when the terminal closes
            before[signum] = signal.signal(signum, handler)
    except ValueError:
        yield False
        return
    try:
        yield True
    finally:
        for signum, earlier in before.items():
            signal.signal(signum, earlier)
