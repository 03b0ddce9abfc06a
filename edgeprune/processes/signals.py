"""Signals that ask a process to stop: Ctrl-C, SIGTERM of a scheduler, SIGHUP of a closed terminal."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))

_received: list[int] = []  # the first signal that asked this process to stop


class Stopped(KeyboardInterrupt):
    """A signal that stops at once; everything on the way out is cleaned up as after Ctrl-C."""


def exit_code() -> int:
    """Return what a process exits with that a signal stopped: 130, 143 or 129."""
    return 128 + (_received[0] if _received else signal.SIGINT)


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether a signal asked to stop after the current step.

    A second Ctrl-C stops at once. SIGTERM and SIGHUP only ever ask: a closing terminal sends several.
    """
    asked = False

    def ask(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
        nonlocal asked
        _received.append(signum)
        if asked and signum == signal.SIGINT:
            raise Stopped
        asked = True

    with _handled_by(ask, (signal.SIGINT, *ENDING)) as handled:
        yield (lambda: asked) if handled else (lambda: False)


@contextmanager
def stop_at_once() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does, instead of ending the process where it stands."""
    _received.clear()

    def stop(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
        _received.append(signum)
        if len(_received) == 1:  # a second one must not cut short what the first one cleans up
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
                continue  # nohup: it is to go on when the terminal closes
            before[signum] = signal.signal(signum, handler)
    except ValueError:
        yield False
        return
    try:
        yield True
    finally:
        for signum, earlier in before.items():
            signal.signal(signum, earlier)
