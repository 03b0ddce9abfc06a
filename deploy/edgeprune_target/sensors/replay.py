"""A simulated sensor that replays a CSV file of power readings.

The first line names the columns: ``t_s`` (seconds since the first reading) and one column per rail, in
watts. Between two lines it interpolates; after the last the value is constant.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path
from time import perf_counter_ns
from typing import Callable

from edgeprune_target.sensors.base import Sensor


class ReplaySensor(Sensor):
    """A replay whose time starts at the first ``read``."""

    total_kind = "measured_input"
    most_w = 10_000.0  # of whatever was recorded

    def __init__(
        self, argument: str = "", root: str = "/", clock: Callable[[], int] = perf_counter_ns
    ) -> None:
        """Prepare a replay; ``argument`` is the path of the CSV file."""
        super().__init__(argument, root, clock)
        self.path = Path(argument)
        self.start_ns: int | None = None
        self.times: list = []
        self.rails: dict = {}

    def why_not(self) -> str | None:
        """Return None, or what is wrong with the file."""
        try:
            self._load()
        except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
            return f"cannot replay {self.path} ({error!r}): it needs a column t_s and one per rail, in watts"
        return None if self.times and self.rails else f"{self.path} has no readings or no rails"

    def read(self) -> dict:
        """Return {rail: watts} at the current time of the recording."""
        if not self.times:
            self._load()
        now = self.clock()
        self.start_ns = now if self.start_ns is None else self.start_ns
        at = (now - self.start_ns) / 1e9 + self.times[0]
        return {rail: _interpolate(self.times, watts, at) for rail, watts in self.rails.items()}

    def _load(self) -> None:
        with self.path.open(newline="") as handle:
            rows = list(csv.DictReader(handle))
        self.times = [float(row["t_s"]) for row in rows]
        if not all(map(math.isfinite, self.times)) or sorted(self.times) != self.times:
            raise ValueError("the times in t_s are not in order")
        names = [name for name in (rows[0] if rows else {}) if name != "t_s"]
        self.rails = {name: [float(row[name]) for row in rows] for name in names}


def _interpolate(times: list, values: list, at: float) -> float:
    """Interpolate linearly between two readings; ``at`` is never before the first."""
    for index in range(1, len(times)):
        if at < times[index]:
            share = (at - times[index - 1]) / (times[index] - times[index - 1])
            return float(values[index - 1] + share * (values[index] - values[index - 1]))
    return float(values[-1])
