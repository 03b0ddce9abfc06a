"""Check whether readings are plausible: pure functions. An impossible reading makes an energy unknown, not large.

Limits are far above the devices' consumption, so that only faults exceed them: a truncated line of text, a
counter that restarted, a bus that answers with all bits set.
"""

from __future__ import annotations

import math

LEAST_W = -2.0  # a sensor chip's offset on a rail without load is about 0.05 W
SLACK_S = 0.15  # counters advance in steps, NVML's every 0.1 s: two readings may have one step between them
TEMPERATURES_C = (-100.0, 200.0)
MOST_HZ = 1e11


def why_impossible(times_ns: list, values: list, unit: str, most_w: float) -> str | None:
    """Return what is wrong with the readings of one rail; None if they are plausible.

    Args:
        times_ns: when they were taken.
        values: watts, or accumulated joules.
        unit: "watts" or "joules".
        most_w: upper limit of the rail's power.
    """
    if unit == "joules":
        return _why_impossible_counter(times_ns, values, most_w)
    for value in values:
        if not (math.isfinite(value) and LEAST_W <= value <= most_w):
            return f"read {value:.6g} W ({LEAST_W:g} to {most_w:g} W can be)"
    return None


def _why_impossible_counter(times_ns: list, joules: list, most_w: float) -> str | None:
    for index, value in enumerate(joules):
        if not math.isfinite(value):
            return f"counted {value:g} J"
        if index == 0:
            continue
        step_j, step_s = value - joules[index - 1], (times_ns[index] - times_ns[index - 1]) / 1e9
        if step_j < 0:
            return f"counted backwards, by {-step_j:.6g} J"
        if step_j > most_w * (step_s + SLACK_S):
            return f"counted {step_j:.6g} J in {step_s:.3g} s (at most {most_w:g} W can be)"
    return None


def is_dead(series: list, unit: str) -> bool:
    """Return whether all readings of these rails are zero.

    Single rails of a sum may be at 0 W, such as a part of a chip without power, but not a complete device.

    Args:
        series: lists of readings, one per rail.
        unit: "watts" or "joules".
    """
    if unit == "joules":
        return all(values[-1] == values[0] for values in series)
    return all(value == 0 for values in series for value in values)


def possible_c(degrees: float) -> bool:
    """Return whether a temperature is plausible for a running machine."""
    return TEMPERATURES_C[0] < degrees < TEMPERATURES_C[1]


def possible_hz(hertz: float | None) -> bool:
    """Return whether a clock is plausible; 0 is a stopped clock."""
    return hertz is not None and 0 <= hertz <= MOST_HZ
