"""Report the progress of long work to a callback."""

from collections.abc import Callable

ProgressCallback = Callable[[float, float, str], None]  # (done, total, what is being done)


def no_progress(done: float, total: float, text: str) -> None:
    """Ignore progress; the default of functions that report it.

    Args:
        done: amount of finished work.
        total: amount of all work, in the same unit.
        text: what is being done.
    """
