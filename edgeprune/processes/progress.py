"""Report the progress of long work to a callback, and tell from its pace how much time is left."""

from collections import deque
from collections.abc import Callable, Hashable

ProgressCallback = Callable[[float, float, str], None]  # (done, total, what is being done)
WINDOW_S = 60.0  # in which the pace is measured


def no_progress(done: float, total: float, text: str) -> None:
    """Ignore progress; the default of functions that report it.

    Args:
        done: amount of finished work.
        total: amount of all work, in the same unit.
        text: what is being done.
    """


class Pace:
    """The pace of one work over the last minute."""

    def __init__(self) -> None:
        self._work: Hashable = None
        self._points: deque[tuple[float, float]] = deque()

    def add(self, now: float, done: float, work: Hashable) -> bool:
        """Note how far the work is; return whether it is other work than before, which has no pace yet.

        Args:
            now: time in seconds.
            done: amount of finished work; less than before is other work, too.
            work: what tells one work from another.
        """
        is_new = work != self._work or bool(self._points and done < self._points[-1][1])
        if is_new:
            self._work = work
            self._points.clear()
        self._points.append((now, done))
        while self._points[0][0] < now - WINDOW_S and len(self._points) > 2:
            self._points.popleft()
        return is_new

    @property
    def seconds_per_unit(self) -> float | None:
        """Seconds for one unit of work; None where nothing was finished yet."""
        (since, start), (now, done) = self._points[0], self._points[-1]
        return (now - since) / (done - start) if done > start else None

    def seconds_left(self, total: float) -> float | None:
        """Return the seconds until ``total`` units are finished; None where the pace is unknown."""
        pace = self.seconds_per_unit
        return None if pace is None else pace * max(0.0, total - self._points[-1][1])
