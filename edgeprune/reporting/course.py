"""Format the course of a measurement under lasting load as a table."""

from collections.abc import Sequence

from edgeprune.records.bench import SustainedMinute, SustainedReport
from edgeprune.reporting.rows import Table

MOST_MINUTES = 40  # lines of a table that is read; a longer course is shown every so many minutes


def course_table(course: SustainedReport) -> Table:
    """Return columns and cells of a sustained measurement, a line a minute, or every few minutes of a long one."""
    names = list(course.minutes[0].models)
    heads = [
        ("minute", "right"),
        *((f"{name} p50, p90 ms", "right") for name in names),
        ("warmest", "right"),
        ("CPU, GPU MHz", "right"),
        ("W", "right"),
        ("remarks", "left"),
    ]
    every = -(-len(course.minutes) // MOST_MINUTES)
    return heads, [_course_line(minute, names, course) for minute in course.minutes[::every]]


def _course_line(minute: SustainedMinute, names: Sequence[str], course: SustainedReport) -> list[str]:
    times = [minute.models.get(name) for name in names]
    clocks = [f"{mhz:.0f}" if mhz else "-" for mhz in (minute.cpu_mhz, minute.gpu_mhz)]
    watts = [value for value in minute.watts.values() if value is not None]
    begins = course.steady and minute.minute == int(course.steady_from_s // 60)
    return [
        f"{minute.minute + 1}",
        *(f"{time.p50:.3f}, {time.p90:.3f}" if time else "-" for time in times),
        "-" if minute.warmest_c is None else f"{minute.warmest_c:.0f} C {minute.warmest_zone}",
        ", ".join(clocks),
        f"{sum(watts) / len(watts):.1f}" if watts else "-",
        "; ".join([*(["steady from here"] if begins else []), *minute.warnings]),
    ]
