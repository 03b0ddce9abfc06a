"""Format a sensitivity as rows of text."""

from edgeprune.records.sensitivity import SensitivityPoint, SensitivityRecord
from edgeprune.reporting.rows import Table, percent
from edgeprune.tasks import Metric, metric_of


def sensitivity_table(record: SensitivityRecord) -> Table:
    """Return the columns and cells: a row for each group, with what each share costs."""
    metric = metric_of(record)
    heads = [("coupled channels", "left"), ("count", "right"), ("FLOPs", "right")]
    heads += [(f"without {percent(share, 0)}", "right") for share in record.shares]
    points = by_place(record)
    cells = []
    for group in record.groups:
        row = [group.name, str(group.classes), percent(group.flops_share, 1)]
        for share in record.shares:
            row.append(change_text(metric, record.baseline, points.get((group.name, share))))
        cells.append(row)
    return heads, cells


def by_place(record: SensitivityRecord) -> dict[tuple[str, float], SensitivityPoint]:
    """Return the points by group and share."""
    return {(point.group, point.share): point for point in record.points}


def change_text(metric: Metric, baseline: float, point: SensitivityPoint | None) -> str:
    """Format what a removal changes, '-' where it was not measured.

    Args:
        metric: of the record.
        baseline: the unpruned network's value.
        point: of the removal.
    """
    return "-" if point is None else metric.change(baseline, point.value)


def sensitivity_lines(record: SensitivityRecord) -> list[str]:
    """Return what the numbers of the table are."""
    metric = metric_of(record)
    images = "held-out images" if record.split == "val" else "test images"
    return [
        f"change of the {metric.title} ({metric.text(record.baseline)} unpruned) on {record.images:,} {images}, each "
        "group alone, nothing retrained"
    ]
