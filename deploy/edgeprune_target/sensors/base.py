"""The base class of all power sensors."""

from __future__ import annotations

from time import perf_counter_ns
from typing import Callable


class Sensor:
    """A power sensor.

    Args:
        argument: the text after the colon in ``name:argument``.
        root: the folder used in place of ``/``.
        clock: of the readings' times (ns, monotonic).
    """

    name = ""
    unit = "watts"
    total_kind = "none"
    most_w = 500.0  # of a rail: an AGX Thor needs 130 W in total; see ``plausible``
    period_s = 0.05  # the boards' sensor chips update about 77 times a second

    def __init__(
        self, argument: str = "", root: str = "/", clock: Callable[[], int] = perf_counter_ns
    ) -> None:
        self.argument = argument
        self.root = root
        self.clock = clock

    def why_not(self) -> str | None:
        """Return None if it is available, else the reason and the remedy."""
        raise NotImplementedError

    def read(self) -> dict:
        """Return {rail: number} now, or an empty dict if this reading failed."""
        raise NotImplementedError

    def take(self) -> list:
        """Return ``[(time_ns, {rail: number})]`` since the last call; the time is the middle of the reading."""
        before = self.clock()
        values = self.read()
        return [((before + self.clock()) // 2, values)]

    def close(self) -> None:
        """End what was started, if anything; may be called twice."""
