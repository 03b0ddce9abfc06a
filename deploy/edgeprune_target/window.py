"""The measuring window: the only place that reads the clock and the sensors around a piece of work.

In: wait for the device, read the sensors and the clock. Out: wait for the device, read the clock and the
sensors. What lies between is counted, and nothing else is: warm-up and loading come before.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Callable

from edgeprune_target.energy import longest_gap_s, rail_joules, series, span_s, uncovered_s
from edgeprune_target.plausible import is_dead, why_impossible
from edgeprune_target.totals import EVERY, choose_total

UNCOVERED_SHARE = 0.1  # of the window may lie outside the readings; more would be guessed
UNCOVERED_PERIODS = 3  # and as many reading periods: in a short window a late first line is no fault


def nothing_to_wait_for() -> None:
    """The ``synchronize`` of work that is done when it returns."""


class Window:
    """A context manager; ask it for ``seconds`` and ``energy_report`` after leaving it.

    Its clock is the sensor's. While it is open a thread reads the sensor every ``period_s``. With the sensor
    ``none``, or with ``poll=False``, there is no thread: only the readings at both ends and those of
    ``read_sensor``.
    """

    def __init__(
        self,
        sensor: Any,
        synchronize: Callable[[], None] = nothing_to_wait_for,
        totals: list | None = None,
        poll: bool = True,
    ) -> None:
        """``totals`` are (kind, rails) to choose from; without any, all rails are of the sensor's kind."""
        self.sensor = sensor
        self.synchronize = synchronize
        self.clock = sensor.clock
        self.totals = totals or ([(sensor.total_kind, [EVERY])] if sensor.total_kind != "none" else [])
        self.readings: list = []
        self.start_ns = self.end_ns = 0
        self._stop = threading.Event()
        wanted = poll and sensor.why_not() is None
        self._thread = threading.Thread(target=self._poll, daemon=True) if wanted else None

    def __enter__(self) -> Window:
        self.synchronize()
        self.read_sensor()
        self.readings = self.readings[-1:]  # a sensor that prints by itself has been doing so for a while
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
        """Take what the sensor has now."""
        self.readings += self.sensor.take()

    @property
    def seconds(self) -> float:
        """How long the window was open."""
        return (self.end_ns - self.start_ns) / 1e9

    def joules(self) -> dict:
        """{rail: joules} of this window; empty when the sensor did not give two readings.

        Rails whose readings cannot be are left out: see `faults`.
        """
        faults = self.faults()
        readings = [
            (time, {rail: value for rail, value in values.items() if rail not in faults})
            for time, values in self.readings
        ]
        return rail_joules(readings, self.sensor.unit, self.start_ns, self.end_ns)

    def faults(self) -> dict:
        """{rail: what is wrong with its readings}, of those with readings that cannot be."""
        unit, most_w = self.sensor.unit, self.sensor.most_w
        checked = {
            rail: why_impossible(times, values, unit, most_w)
            for rail, (times, values) in series(self.readings).items()
        }
        return {rail: fault for rail, fault in checked.items() if fault is not None}

    def counted_s(self) -> float:
        """The time that ``joules`` is for: the window, or a counter's first reading to its last."""
        return span_s(self.readings) if self.sensor.unit == "joules" else self.seconds

    def total(self) -> tuple:
        """``(kind, rails)``: what stands for the whole, of the rails that answered, rightly or not."""
        answered = [rail for rail, (times, _) in series(self.readings).items() if len(times) > 1]
        return choose_total(self.totals, answered)

    def _poll(self) -> None:
        while not self._stop.wait(self.sensor.period_s):
            self.read_sensor()


def energy_report(window: Window, idle_w: float | None, reasons: list) -> dict:
    """What a window says about energy, as JSON: joules per rail; of the total, gross and net of idle.

    ``gross_j`` is everything that the rails of the total took while the window was open; ``net_j`` is less
    what the idle machine would have taken. What is unknown is None, with a ``reason``.
    """
    joules, (kind, rails) = window.joules(), window.total()
    reason = why_no_total(window, joules, rails, reasons)
    counted_s = window.counted_s()
    gross = sum(joules[rail] for rail in rails) if reason is None else None
    net = gross - idle_w * counted_s if gross is not None and idle_w is not None else None
    times = total_times(window, rails)
    asked = window.sensor.name != "none"
    return {
        "sensor": window.sensor.name,
        "unit": window.sensor.unit,
        "total_kind": kind,
        "total_rails": rails,
        "rails_j": joules,
        "rail_faults": window.faults(),
        "gross_j": gross,
        "idle_w": idle_w,
        "net_j": net,
        "window_s": counted_s if joules else 0.0,
        "samples": len(times),
        "failed_reads": sum(not values for _, values in window.readings) if asked else 0,
        "rate_hz": (len(times) - 1) / span_s(window.readings) if len(times) > 1 else None,
        "longest_gap_s": longest_gap_s(times),
        "reason": reason,
    }


def total_times(window: Window, rails: list) -> list:
    """When the total was read, ns: the times of its least read rail; without a total, of any rail."""
    found = {rail: times for rail, (times, _) in series(window.readings).items()}
    wanted = [found[rail] for rail in (rails or found)]
    return min(wanted, key=len) if wanted else []


def why_no_total(window: Window, joules: dict, rails: list, reasons: list) -> str | None:
    """None when the total's energy is known, else the reason."""
    faults = {rail: fault for rail, fault in window.faults().items() if rail in rails or not rails}
    for rail, fault in faults.items():
        return f"{rail} {fault}: what {window.sensor.name} says cannot be, so measure again"
    if not joules:
        return "; ".join(reasons) or "the sensor gave fewer than two readings"
    if not rails:
        wanted = " or ".join("+".join(names) for _, names in window.totals) or "none is known for this board"
        return f"the rails {', '.join(joules)} have no total (wanted: {wanted}); each is in rails_j"
    readings = series(window.readings)
    if is_dead([readings[rail][1] for rail in rails], window.sensor.unit):
        said = "counted nothing" if window.sensor.unit == "joules" else "read 0 W all the time"
        return f"{'+'.join(rails)} {said}: the sensor {window.sensor.name} is dead, or not connected"
    if window.sensor.unit == "joules":
        return None
    times = total_times(window, rails)
    allowed = UNCOVERED_SHARE * window.seconds + UNCOVERED_PERIODS * window.sensor.period_s
    missing = uncovered_s(times, window.start_ns, window.end_ns)
    if missing > allowed:
        return f"the readings leave {missing:.1f} of {window.seconds:.1f} s out: the sensor stopped answering"
    if sum(joules[rail] for rail in rails) < 0:
        return "the rails read less than nothing: this sensor has an offset that is larger than the load"
    return None
