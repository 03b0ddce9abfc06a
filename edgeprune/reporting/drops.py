"""Format the networks that were tried for a largest drop, and which was chosen."""

from edgeprune.records.max_drop import DropPoint, MaxDropRecord
from edgeprune.records.metrics import PairedDrop
from edgeprune.records.runs import Summary
from edgeprune.reporting.rows import Table, percent
from edgeprune.tasks import Metric, metric_of

IMAGES = {"val": "held-out training images", "test": "test images (every second one)"}


def drop_table(record: MaxDropRecord) -> Table:
    """Return the columns and cells of the networks that were tried, the largest first."""
    metric = metric_of(record)
    of_target = [] if record.resource == "flops" else [(f"{record.resource} left", "right")]
    heads = [
        ("run", "left"), (metric.title, "right"), ("change", "right"), ("interval", "right"),
        ("FLOPs left", "right"), *of_target, ("", "left"),
    ]  # fmt: skip
    points = sorted(record.points, key=lambda point: -point.flops_fraction)
    return heads, [_cells(record, point, metric) for point in points]


def _cells(record: MaxDropRecord, point: DropPoint, metric: Metric) -> list[str]:
    measured = [] if record.resource == "flops" else [percent(point.got_fraction)]
    return [
        point.run,
        metric.text(point.pruned),
        metric.change(point.baseline, point.pruned),
        interval_text(point.drop, metric),
        percent(point.flops_fraction),
        *measured,
        record.verdict(point),
    ]


def drop_lines(record: MaxDropRecord) -> list[str]:
    """Return what the networks were compared on and by, and whether other images confirm the choice."""
    metric = metric_of(record)
    held = {"interval": "the interval's lower end", "estimate": "the change itself"}[record.drop_by]
    least = f"{-record.max_drop:g} {metric.unit_of_changes}".rstrip()
    lines = [f"on {record.images:,} {IMAGES[record.split]}; {held} may be {least}"]
    if record.confirmed is not None:
        drop = record.confirmed
        change = metric.change(drop.value, 0.0) if metric.higher_is_better else metric.change(0.0, drop.value)
        lines.append(
            f"on {drop.images:,} images that did not choose it: {change}, {interval_text(drop, metric)}"
        )
    return [*lines, *record.notes]


def interval_lines(summary: Summary) -> list[str]:
    """Return the interval of what the pruned model lost on the test images, in a line; none where it is not known."""
    drop = summary.drop_interval
    if not isinstance(drop, PairedDrop):
        return []
    metric = metric_of(summary)
    about = f"{100 * drop.confidence:.0f} % interval, the same {drop.images:,} test images"
    return [
        f"{metric.title} changes by {interval_text(drop, metric)} {metric.unit_of_changes} ({about})".replace(
            "  ", " "
        )
    ]


def interval_text(drop: PairedDrop | None, metric: Metric) -> str:
    """Return the interval of a metric's change, as '-1.20 to +0.30'; '-' where it is not known."""
    if drop is None:
        return "-"
    ends = (-drop.high, -drop.low) if metric.higher_is_better else (drop.low, drop.high)
    low, high = (metric.scale * end for end in ends)
    return f"{low:+.2f} to {high:+.2f}"
