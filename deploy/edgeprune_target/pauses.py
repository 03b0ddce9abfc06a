"""Pauses inside a measuring window: a process that was stopped, a machine that slept, a closed lid.

A stopped process sees one inference, or the time between two, that is as long as the pause. A machine that
sleeps stops the clock of the samples too; another of its clocks goes on.
"""

from __future__ import annotations

import time
from statistics import median

PAUSE_S = 0.1  # shorter ones are the scheduler's, and a part of what a busy machine gives
TIMES_USUAL = 20  # an inference that long was interrupted, not slow
SUSPENDED_S = 0.05  # between reads of two clocks there are microseconds


def suspended_clock_s() -> float | None:
    """Return how long the machine has slept since its start; None where that cannot be known."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    if boot is None:
        return None
    return time.clock_gettime(boot) - time.clock_gettime(time.CLOCK_MONOTONIC)


def slept_since(before_s: float | None) -> float:
    """Return how long the machine has slept since `suspended_clock_s` said ``before_s``."""
    now_s = suspended_clock_s()
    return 0.0 if before_s is None or now_s is None else max(0.0, now_s - before_s)


def pauses(samples_ns: list, gaps_s: float = 0.0, suspended_s: float = 0.0) -> dict:
    """Return what interrupted a window, as JSON: ``count``, ``seconds``, ``longest_s``, ``suspended_s``.

    Args:
        samples_ns: times of single inferences.
        gaps_s: the window's time that is in no sample.
        suspended_s: how long the machine slept meanwhile.
    """
    usual_ns = median(samples_ns) if samples_ns else 0.0
    long_ns = max(TIMES_USUAL * usual_ns, PAUSE_S * 1e9)
    found = [(sample - usual_ns) / 1e9 for sample in samples_ns if sample > long_ns]
    if gaps_s > PAUSE_S and gaps_s * 1e9 > long_ns:
        found.append(gaps_s)
    if suspended_s > SUSPENDED_S:
        found.append(suspended_s)
    return {
        "count": len(found),
        "seconds": sum(found),
        "longest_s": max(found, default=0.0),
        "suspended_s": suspended_s if suspended_s > SUSPENDED_S else 0.0,
    }
