"""The measuring window: the only place that reads the clock and the sensors around a piece of work.

In: wait for the device, read the clock and the sensors. Out: wait for the device, read the clock and the
sensors. What lies between is counted, and nothing else is: warm-up and loading come before.
"""

from __future__ import annotations

import threading
from time import perf_counter_ns
from types import TracebackType
from typing import Any, Callable

from edgeprune_target.energy import rail_joules, span_s


def nothing_to_wait_for() -> None:
    """The ``synchronize`` of work that is done when it returns."""


class Window:
    """A context manager; ask it for ``seconds`` and ``energy()`` after leaving it.

    While it is open a thread reads the sensor every ``period_s``. With the sensor ``none``, or with
    ``poll=False``, there is no thread: only the readings at both ends and those of ``read_sensor``.
    """

    def __init__(
        self,
        sensor: Any,
        synchronize: Callable[[], None] = nothing_to_wait_for,
        clock: Callable[[], int] = perf_counter_ns,
        poll: bool = True,
    ) -> None:
        """``clock`` gives nanoseconds that only ever grow."""
        self.sensor = sensor
        self.synchronize = synchronize
        self.clock = clock
        self.readings: list = []
        self.start_ns = self.end_ns = 0
        self._stop = threading.Event()
        wanted = poll and sensor.why_not() is None
        self._thread = threading.Thread(target=self._poll, daemon=True) if wanted else None

    def __enter__(self) -> Window:
        self.synchronize()
        self.read_sensor()
        self.start_ns = self.clock()
        if self._thread:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.synchronize()
        self.end_ns = self.clock()
        self._stop.set()
        if self._thread:
            self._thread.join()
        self.read_sensor()

    def read_sensor(self) -> None:
        """Take one reading now; its time is the middle of the time it took."""
        before = self.clock()
        values = self.sensor.read()
        self.readings.append(((before + self.clock()) // 2, values))

    @property
    def seconds(self) -> float:
        """How long the window was open."""
        return (self.end_ns - self.start_ns) / 1e9

    def joules(self) -> dict:
        """{rail: joules} of this window; empty when the sensor did not give two readings."""
        return rail_joules(self.readings, self.sensor.unit)

    def watts(self) -> float | None:
        """Mean power over all rails, or None."""
        joules, span = self.joules(), span_s(self.readings)
        return sum(joules.values()) / span if joules and span > 0 else None

    def _poll(self) -> None:
        while not self._stop.wait(self.sensor.period_s):
            self.read_sensor()


def energy_report(window: Window, idle_w: float | None, reasons: list) -> dict:
    """What a window says about energy, as JSON: joules per rail, gross and net of idle, and the readings.

    ``gross_j`` is everything the rails took while the window was open; ``net_j`` is less what the idle
    machine would have taken. What is unknown is None, with a ``reason``.
    """
    rails, good = window.joules(), [values for _, values in window.readings if values]
    span = span_s(window.readings)
    gross = sum(rails.values()) if rails else None
    net = gross - idle_w * span if gross is not None and idle_w is not None else None
    return {
        "sensor": type(window.sensor).__module__.rsplit(".", 1)[-1],
        "unit": window.sensor.unit,
        "total_kind": window.sensor.total_kind,
        "total_rails": sorted(rails),
        "rails_j": rails,
        "gross_j": gross,
        "idle_w": idle_w,
        "net_j": net,
        "window_s": span,
        "samples": len(good),
        "failed_reads": len(window.readings) - len(good) if window.sensor.total_kind != "none" else 0,
        "rate_hz": (len(good) - 1) / span if span > 0 else None,
        "reason": None if rails else "; ".join(reasons) or "the sensor gave fewer than two readings",
    }
