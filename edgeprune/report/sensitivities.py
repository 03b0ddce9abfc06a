"""The page and the section of a sensitivity: a heat map and a table."""

from pathlib import Path

from edgeprune.records.sensitivity import SensitivityRecord
from edgeprune.report.blocks import Block, Figure, Folded, Section, Table
from edgeprune.report.charts import Cell, heat_map
from edgeprune.reporting.rows import percent
from edgeprune.sensitivity.measuring import read_sensitivity
from edgeprune.sensitivity.table import by_place, change_text, sensitivity_lines, sensitivity_table
from edgeprune.tasks import metric_of

MARGIN = 1e-12


def sensitivity_sections(folder: Path) -> list[Section]:
    """Return the section of what was measured in a folder; none where nothing was.

    Raises:
        RunError: the file is damaged.
    """
    record = read_sensitivity(folder)
    return [] if record is None or not record.points else [sensitivity_section(record)]


def sensitivity_section(record: SensitivityRecord) -> Section:
    """Return the heat map of a sensitivity, and its table."""
    chart = heat_map(
        [(group.name, _cells(record, group.name)) for group in record.groups],
        [f"without {percent(share, 0)}" for share in record.shares],
        title="What each share of each group of channels costs",
    )
    heads, rows = sensitivity_table(record)
    table = Table([head for head, _ in heads], rows)
    blocks: list[Block] = [
        Figure(chart, f"Along the network: {sensitivity_lines(record)[0]}."),
        Folded("The same in numbers", table),
    ]
    return Section("Sensitivity", blocks)


def _cells(record: SensitivityRecord, group: str) -> list[Cell]:
    """Return a group's fields, the stronger the more the metric loses, up to the largest loss of all."""
    metric, points = metric_of(record), by_place(record)
    losses = {
        place: metric.worth(record.baseline) - metric.worth(point.value) for place, point in points.items()
    }
    worst = max((*losses.values(), MARGIN))
    cells = []
    for share in record.shares:
        point = points.get((group, share))
        text = change_text(metric, record.baseline, point)
        tip = f"{group} without {percent(share, 0)}: not measured"
        if point is not None:
            left = f"{percent(point.flops_fraction, 1)} of the FLOPs left"
            tip = f"{group} without {point.removed} channels: {metric.text(point.value)}, {left}"
        cells.append(Cell(text.split(" ")[0], losses.get((group, share), 0.0) / worst, tip))
    return cells


def sensitivity_lead(record: SensitivityRecord) -> str:
    """Return one sentence that says where most is lost."""
    metric = metric_of(record)
    if not record.points:
        return "Nothing is measured yet."
    worst = min(record.points, key=lambda point: metric.worth(point.value))
    left = "" if record.complete else " Not all of it is measured yet."
    return (
        f"{worst.group} is the most sensitive: without {percent(worst.share, 0)} of its channels the {metric.title} is "
        f"{metric.text(worst.value)}, unpruned {metric.text(record.baseline)}.{left}"
    )
