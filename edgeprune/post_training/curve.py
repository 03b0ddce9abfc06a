"""How far a network can go: agreement with the original against what remains, as a table, JSON and a plot."""

from pathlib import Path

from edgeprune.errors import TargetError
from edgeprune.files.writing import written_aside
from edgeprune.post_training.pruning import PostTraining
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.records.pruning import CurvePoint, CurveRecord
from edgeprune.reporting.rows import Table, percent

SHARES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)  # of the FLOPs
MISSING = "no plot: matplotlib is not installed: pip install 'edgeprune[plot]', then --resume"


def curve_of(steps: PostTraining, progress: ProgressCallback = no_progress) -> list[CurvePoint]:
    """Return a point for each share of the FLOPs that can be reached, after a fit of each layer by itself.

    Args:
        steps: of the network, with inputs.
        progress: called with (done, total, text).
    """
    points = []
    fit = "kernel" if steps.fit != "none" else "none"
    for number, share in enumerate(SHARES):
        progress(number, len(SHARES), f"agreement at flops={share:g}")
        try:
            plan = steps.plan_by_costs(f"flops={share}")
        except TargetError:
            break
        agreement = steps.agreement(plan.keep, fit)
        points.append(
            CurvePoint(
                top1=agreement.top1,
                relative_error=agreement.relative_error,
                inputs=agreement.inputs,
                flops_fraction=steps.graph.flops(plan.keep) / steps.graph.flops(),
                latency_fraction=steps.latency_share(plan.keep),
            )
        )
    return points


def curve_table(record: CurveRecord) -> Table:
    """Return the columns and cells of the table of a curve."""
    heads = [("FLOPs", "right"), ("top-1 agreement", "right"), ("relative error", "right")]
    cells = [
        [percent(point.flops_fraction), percent(point.top1), f"{point.relative_error:.4f}"]
        for point in record.points
    ]
    if any(point.latency_fraction is not None for point in record.points):
        heads.insert(1, ("latency, by the table", "right"))
        for row, point in zip(cells, record.points, strict=True):
            row.insert(1, percent(point.latency_fraction))
    return heads, cells


def draw_curve(record: CurveRecord, path: Path) -> str | None:
    """Draw a curve to ``path``; return the reason if there is no plot.

    Args:
        record: of the curve.
        path: of the PNG.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return MISSING
    points = record.points
    figure = Figure(figsize=(7.0, 4.4), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    by_class = all(point.top1 is not None for point in points)
    values = [
        point.relative_error if point.top1 is None or not by_class else 100 * point.top1 for point in points
    ]
    for kind, mark in (("flops", "o-"), ("latency", "s--")):
        shares = [getattr(point, f"{kind}_fraction") for point in points]
        if None not in shares:
            label = {"flops": "FLOPs", "latency": "latency, by the table"}[kind]
            axes.plot([100 * share for share in shares], values, mark, label=label)
    axes.set_xlabel("what remains, %")
    axes.set_ylabel("top-1 agreement with the original, %" if by_class else "relative error of the outputs")
    axes.set_title(record.model)
    axes.grid(alpha=0.3)
    axes.legend()
    with written_aside(path) as aside:
        FigureCanvasAgg(figure).print_png(str(aside))
    return None
