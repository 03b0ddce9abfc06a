"""The measuring window: only this module reads the clock and the sensors around a piece of work.

On entry, synchronize the device, read the sensors, then the clock. On exit, synchronize the device, read the clock,
then the sensors. Only the work in between counts: warm-up and loading come before.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Callable

from edgeprune_target.energy import longest_gap_s, rail_joules, series, span_s, uncovered_s
from edgeprune_target.plausible import is_dead, why_impossible
from edgeprune_target.totals import EVERY, choose_total

UNCOVERED_SHARE = 0.1  # of the window may lie outside the readings; more would be a guess
UNCOVERED_PERIODS = 3  # and as many reading periods: in a short window a late first line is not a fault


def nothing_to_wait_for() -> None:
    """Do nothing: the ``synchronize`` of work that is complete when it returns."""


class Window:
    """A context manager; ``seconds`` and ``energy_report`` are available after leaving it.

    Its clock is the sensor's. While it is open a thread reads the sensor every ``period_s``. With the sensor
    ``none``, or with ``poll=False``, there is no thread, only the readings at both ends and those of
    ``read_sensor``.
    """

    def __init__(
        self,
        sensor: Any,
        synchronize: Callable[[], None] = nothing_to_wait_for,
        totals: list | None = None,
        poll: bool = True,
    ) -> None:
        """Prepare a window.

        Args:
            sensor: opened.
            synchronize: waits until the device has finished its work.
            totals: (kind, rails) to choose from; by default all rails, of the sensor's kind.
            poll: whether a thread reads the sensor.
        """
        self.sensor = sensor
        self.synchronize = synchronize
        self.clock = sensor.clock
        self.totals = totals or ([(sensor.total_kind, [EVERY])] if sensor.total_kind != "none" else [])
        self.readings: list = []
        self.start_ns = self.end_ns = 0
        self._stop = threading.Event()
        polled = poll and sensor.why_not() is None
        self._thread = threading.Thread(target=self._poll, daemon=True) if polled else None

    def __enter__(self) -> Window:
        self.synchronize()
        self.read_sensor()
        self.readings = self.readings[-1:]  # a sensor that prints continuously has earlier readings
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
        """Add the sensor's current readings."""
        self.readings += self.sensor.take()

    @property
    def seconds(self) -> float:
        """How long the window was open."""
        return (self.end_ns - self.start_ns) / 1e9

    def joules(self) -> dict:
        """Return {rail: joules} of this window; empty if the sensor gave fewer than two readings.

        Rails with implausible readings are left out: see `faults`.
        """
        faults = self.faults()
        readings = [
            (time, {rail: value for rail, value in values.items() if rail not in faults})
            for time, values in self.readings
        ]
        return rail_joules(readings, self.sensor.unit, self.start_ns, self.end_ns)

    def faults(self) -> dict:
        """Return {rail: what is wrong with its readings} for rails with implausible readings."""
        unit, most_w = self.sensor.unit, self.sensor.most_w
        checked = {
            rail: why_impossible(times, values, unit, most_w)
            for rail, (times, values) in series(self.readings).items()
        }
        return {rail: fault for rail, fault in checked.items() if fault is not None}

    def counted_s(self) -> float:
        """Return the time that ``joules`` covers: the window, or a counter's first reading to its last."""
        return span_s(self.readings) if self.sensor.unit == "joules" else self.seconds

    def total(self) -> tuple:
        """Return ``(kind, rails)`` of the total power, of the rails that answered, plausibly or not."""
        answered = [rail for rail, (times, _) in series(self.readings).items() if len(times) > 1]
        return choose_total(self.totals, answered)

    def _poll(self) -> None:
        while not self._stop.wait(self.sensor.period_s):
            self.read_sensor()


def energy_report(window: Window, idle_w: float | None, reasons: list) -> dict:
    """Return the energy of a window as JSON: joules per rail; of the total, gross and net of idle.

    ``gross_j`` is the energy of the total's rails while the window was open; ``net_j`` is the same minus the energy
    of the idle machine. Unknown values are None, with a ``reason``.

    Args:
        window: closed.
        idle_w: power of the idle machine; None if it is unknown.
        reasons: why other sensors are not available.
    """
    joules, (kind, rails) = window.joules(), window.total()
    reason = why_no_total(window, joules, rails, reasons)
    counted_s = window.counted_s()
    gross = sum(joules[rail] for rail in rails) if reason is None else None
    net = gross - idle_w * counted_s if gross is not None and idle_w is not None else None
    times = total_times(window, rails)
    has_sensor = window.sensor.name != "none"
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
        "failed_reads": sum(not values for _, values in window.readings) if has_sensor else 0,
        "rate_hz": (len(times) - 1) / span_s(window.readings) if len(times) > 1 else None,
        "longest_gap_s": longest_gap_s(times),
        "reason": reason,
    }


def total_times(window: Window, rails: list) -> list:
    """Return when the total was read, ns: the times of its rail with the fewest readings; without a total, of any."""
    times_of = {rail: times for rail, (times, _) in series(window.readings).items()}
    rail_times = [times_of[rail] for rail in (rails or times_of)]
    return min(rail_times, key=len) if rail_times else []


def why_no_total(window: Window, joules: dict, rails: list, reasons: list) -> str | None:
    """Return why the total's energy is unknown; None if it is known.

    Args:
        window: closed.
        joules: {rail: joules} of the window.
        rails: of the total; empty if there is none.
        reasons: why other sensors are not available.
    """
    faults = {rail: fault for rail, fault in window.faults().items() if rail in rails or not rails}
    for rail, fault in faults.items():
        return f"{rail} {fault}: what {window.sensor.name} says cannot be, so measure again"
    if not joules:
        return "; ".join(reasons) or "the sensor gave fewer than two readings"
    if not rails:
        totals = " or ".join("+".join(names) for _, names in window.totals) or "none is known for this board"
        return f"the rails {', '.join(joules)} have no total (wanted: {totals}); each is in rails_j"
    readings = series(window.readings)
    if is_dead([readings[rail][1] for rail in rails], window.sensor.unit):
        fault = "counted nothing" if window.sensor.unit == "joules" else "read 0 W all the time"
        return f"{'+'.join(rails)} {fault}: the sensor {window.sensor.name} is dead, or not connected"
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
