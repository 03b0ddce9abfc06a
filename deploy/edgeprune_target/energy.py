"""Energy from readings: pure functions. Times are nanoseconds of one monotonic clock."""

from __future__ import annotations

from bisect import bisect_right


def joules_of_power(times_ns: list, watts: list) -> float:
    """Trapezoid rule: each step counts with the mean of its two readings."""
    total = 0.0
    for index in range(1, len(times_ns)):
        step_s = (times_ns[index] - times_ns[index - 1]) / 1e9
        total += step_s * (watts[index] + watts[index - 1]) / 2
    return total


def joules_of_counter(joules: list) -> float:
    """A counter's last value less its first."""
    return float(joules[-1] - joules[0])


def watts_at(times_ns: list, watts: list, at_ns: int) -> float:
    """Power at a moment: linear between two readings, held before the first and after the last."""
    after = bisect_right(times_ns, at_ns)
    if after == 0:
        return float(watts[0])
    if after == len(times_ns):
        return float(watts[-1])
    share = (at_ns - times_ns[after - 1]) / (times_ns[after] - times_ns[after - 1])
    return float(watts[after - 1] + share * (watts[after] - watts[after - 1]))


def joules_within(times_ns: list, watts: list, start_ns: int, end_ns: int) -> float:
    """Trapezoid rule from ``start_ns`` to ``end_ns``, whenever the readings were taken."""
    inside = [time for time in times_ns if start_ns < time < end_ns]
    times = [start_ns, *inside, end_ns]
    return joules_of_power(times, [watts_at(times_ns, watts, time) for time in times])


def series(readings: list) -> dict:
    """``[(time_ns, {rail: value})]`` -> {rail: (times_ns, values)}: a rail's failed readings are bridged."""
    found: dict = {}
    for time, values in readings:
        for rail, value in values.items():
            times, numbers = found.setdefault(rail, ([], []))
            times.append(time)
            numbers.append(value)
    return found


def rail_joules(readings: list, unit: str, start_ns: int, end_ns: int) -> dict:
    """{rail: joules} of the rails with two readings or more.

    Power counts from ``start_ns`` to ``end_ns``. A counter is read at both ends, and counts from its first
    reading to its last.
    """
    whole = {rail: pair for rail, pair in series(readings).items() if len(pair[0]) > 1}
    if unit == "joules":
        return {rail: joules_of_counter(values) for rail, (_, values) in whole.items()}
    return {rail: joules_within(times, values, start_ns, end_ns) for rail, (times, values) in whole.items()}


def span_s(readings: list) -> float:
    """Seconds from the first to the last reading that has a value."""
    times = [time for time, values in readings if values]
    return (times[-1] - times[0]) / 1e9 if len(times) > 1 else 0.0


def uncovered_s(times_ns: list, start_ns: int, end_ns: int) -> float:
    """Seconds of the window before the first reading and after the last."""
    if not times_ns:
        return (end_ns - start_ns) / 1e9
    return (max(0, times_ns[0] - start_ns) + max(0, end_ns - times_ns[-1])) / 1e9


def longest_gap_s(times_ns: list) -> float | None:
    """The longest time between two readings; None with fewer than two."""
    steps = [times_ns[index] - times_ns[index - 1] for index in range(1, len(times_ns))]
    return max(steps) / 1e9 if steps else None
