"""Detect pauses inside a measuring window: a stopped process, a sleeping machine, a closed lid.

In a stopped process one inference, or the time between two, is as long as the pause. A sleeping machine stops the
clock of the samples too, but another of its clocks continues.
"""

from __future__ import annotations

import time
from statistics import median

PAUSE_S = 0.1  # shorter ones come from the scheduler and belong to the latency on a busy machine
TIMES_USUAL = 20  # an inference that takes this many times the median was interrupted, not slow
SUSPENDED_S = 0.05  # the reads of two clocks are microseconds apart


def suspended_clock_s() -> float | None:
    """Return how long the machine has slept since its start; None if that is unknown."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    if boot is None:
        return None
    return time.clock_gettime(boot) - time.clock_gettime(time.CLOCK_MONOTONIC)


def slept_since(before_s: float | None) -> float:
    """Return how long the machine has slept since `suspended_clock_s` returned ``before_s``."""
    now_s = suspended_clock_s()
    return 0.0 if before_s is None or now_s is None else max(0.0, now_s - before_s)


def pauses(samples_ns: list, gaps_s: float = 0.0, suspended_s: float = 0.0) -> dict:
    """Return the interruptions of a window, as JSON: ``count``, ``seconds``, ``longest_s``, ``suspended_s``.

    Args:
        samples_ns: latencies of single inferences.
        gaps_s: time of the window that is in no sample.
        suspended_s: how long the machine slept meanwhile.
    """
    usual_ns = median(samples_ns) if samples_ns else 0.0
    long_ns = max(TIMES_USUAL * usual_ns, PAUSE_S * 1e9)
    pauses_s = [(sample - usual_ns) / 1e9 for sample in samples_ns if sample > long_ns]
    if gaps_s > PAUSE_S and gaps_s * 1e9 > long_ns:
        pauses_s.append(gaps_s)
    if suspended_s > SUSPENDED_S:
        pauses_s.append(suspended_s)
    return {
        "count": len(pauses_s),
        "seconds": sum(pauses_s),
        "longest_s": max(pauses_s, default=0.0),
        "suspended_s": suspended_s if suspended_s > SUSPENDED_S else 0.0,
    }
