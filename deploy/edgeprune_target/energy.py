"""Compute energy from readings: pure functions. Times are nanoseconds of one monotonic clock."""

from __future__ import annotations

from bisect import bisect_right


def joules_of_power(times_ns: list, watts: list) -> float:
    """Integrate power by the trapezoid rule: each step counts with the mean of its two readings."""
    total = 0.0
    for index in range(1, len(times_ns)):
        step_s = (times_ns[index] - times_ns[index - 1]) / 1e9
        total += step_s * (watts[index] + watts[index - 1]) / 2
    return total


def joules_of_counter(joules: list) -> float:
    """Return the difference of a counter's last and first value."""
    return float(joules[-1] - joules[0])


def watts_at(times_ns: list, watts: list, at_ns: int) -> float:
    """Return the power at a time: linear between two readings, constant before the first and after the last.

    Args:
        times_ns: of the readings, ascending.
        watts: the readings.
        at_ns: the time.
    """
    after = bisect_right(times_ns, at_ns)
    if after == 0:
        return float(watts[0])
    if after == len(times_ns):
        return float(watts[-1])
    share = (at_ns - times_ns[after - 1]) / (times_ns[after] - times_ns[after - 1])
    return float(watts[after - 1] + share * (watts[after] - watts[after - 1]))


def joules_within(times_ns: list, watts: list, start_ns: int, end_ns: int) -> float:
    """Integrate power from ``start_ns`` to ``end_ns`` by the trapezoid rule.

    Args:
        times_ns: of the readings, ascending; they may lie outside the interval.
        watts: the readings.
        start_ns: start of the interval.
        end_ns: its end.
    """
    inside = [time for time in times_ns if start_ns < time < end_ns]
    times = [start_ns, *inside, end_ns]
    return joules_of_power(times, [watts_at(times_ns, watts, time) for time in times])


def series(readings: list) -> dict:
    """Group ``[(time_ns, {rail: value})]`` by rail: {rail: (times_ns, values)}, without a rail's failed readings."""
    by_rail: dict = {}
    for time, values in readings:
        for rail, value in values.items():
            times, numbers = by_rail.setdefault(rail, ([], []))
            times.append(time)
            numbers.append(value)
    return by_rail


def rail_joules(readings: list, unit: str, start_ns: int, end_ns: int) -> dict:
    """Return {rail: joules} of the rails with two readings or more.

    Power is integrated from ``start_ns`` to ``end_ns``. A counter is read at both ends, and its energy is that from
    its first reading to its last.

    Args:
        readings: ``[(time_ns, {rail: value})]``.
        unit: of the values, "watts" or "joules".
        start_ns: start of the interval.
        end_ns: its end.
    """
    measured = {rail: pair for rail, pair in series(readings).items() if len(pair[0]) > 1}
    if unit == "joules":
        return {rail: joules_of_counter(values) for rail, (_, values) in measured.items()}
    return {
        rail: joules_within(times, values, start_ns, end_ns) for rail, (times, values) in measured.items()
    }


def span_s(readings: list) -> float:
    """Return the seconds from the first to the last reading with a value."""
    times = [time for time, values in readings if values]
    return (times[-1] - times[0]) / 1e9 if len(times) > 1 else 0.0


def uncovered_s(times_ns: list, start_ns: int, end_ns: int) -> float:
    """Return the seconds of a window before the first reading and after the last.

    Args:
        times_ns: of the readings, ascending.
        start_ns: start of the window.
        end_ns: its end.
    """
    if not times_ns:
        return (end_ns - start_ns) / 1e9
    return (max(0, times_ns[0] - start_ns) + max(0, end_ns - times_ns[-1])) / 1e9


def longest_gap_s(times_ns: list) -> float | None:
    """Return the longest time between two readings; None with fewer than two."""
    steps = [times_ns[index] - times_ns[index - 1] for index in range(1, len(times_ns))]
    return max(steps) / 1e9 if steps else None
