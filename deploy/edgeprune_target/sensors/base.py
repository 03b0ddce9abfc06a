"""What every power sensor has."""

from __future__ import annotations

from time import perf_counter_ns
from typing import Callable


class Sensor:
    """Made with ``(argument, root, clock)``: the text after the colon in ``name:argument``, the folder that
    stands for ``/``, and the clock that readings are stamped with (ns, only ever growing)."""

    name = ""
    unit = "watts"
    total_kind = "none"
    most_w = 500.0  # of a rail: an AGX Thor takes 130 W in all; see ``plausible``
    period_s = 0.05  # the boards' sensor chips have new values some 77 times a second

    def __init__(
        self, argument: str = "", root: str = "/", clock: Callable[[], int] = perf_counter_ns
    ) -> None:
        self.argument = argument
        self.root = root
        self.clock = clock

    def why_not(self) -> str | None:
        """None when it answers, else the reason, with what to do about it."""
        raise NotImplementedError

    def read(self) -> dict:
        """{rail: number} now, or an empty dict when this one reading failed."""
        raise NotImplementedError

    def take(self) -> list:
        """``[(time_ns, {rail: number})]`` since the last time; the time is the middle of the reading."""
        before = self.clock()
        values = self.read()
        return [((before + self.clock()) // 2, values)]

    def close(self) -> None:
        """End what was started, if anything was; may be called twice."""
