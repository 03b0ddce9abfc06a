"""Energy from readings: pure functions. Times are nanoseconds of one monotonic clock."""

from __future__ import annotations


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


def rail_joules(readings: list, unit: str) -> dict:
    """{rail: joules} over ``readings``, a list of ``(time_ns, {rail: value})``.

    Only readings that have every rail of the first good one count: a rail that comes and goes would
    otherwise be taken for a change of power. Empty with fewer than two such readings.
    """
    rails = next((list(values) for _, values in readings if values), [])
    good = [(time, values) for time, values in readings if values and all(rail in values for rail in rails)]
    if len(good) < 2:
        return {}
    times = [time for time, _ in good]
    series = {rail: [values[rail] for _, values in good] for rail in rails}
    if unit == "joules":
        return {rail: joules_of_counter(values) for rail, values in series.items()}
    return {rail: joules_of_power(times, values) for rail, values in series.items()}


def span_s(readings: list) -> float:
    """Seconds from the first to the last reading that has a value."""
    times = [time for time, values in readings if values]
    return (times[-1] - times[0]) / 1e9 if len(times) > 1 else 0.0
