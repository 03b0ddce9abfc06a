"""Plot accuracy over FLOPs as a PNG: a labelled point for each method, and a line for the baseline."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.files.writing import written_aside
from edgeprune.records.comparison import ComparisonResult, MethodResult
from edgeprune.tasks import Metric, metric_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MISSING = "matplotlib is not installed: pip install 'edgeprune[plot]', then --resume"
SIZE = (8.0, 5.2)  # inches
LABEL_POINTS = 9
ROW = 0.042  # height of a label, as a share of the axes
NARROWEST = 1.0  # least range of the x axis, in percent of the FLOPs
LABELS = 0.6  # room for labels to the right, as a share of the range of the x axis


@dataclass(frozen=True)
class _Point:
    """A method in the plot: its means, and their deviations with several seeds, in the units of the axes."""

    label: str
    flops: float
    flops_std: float | None
    score: float
    score_std: float | None

    @classmethod
    def of(cls, method: MethodResult, metric: Metric) -> "_Point":
        """Return the point of a method with a finished row."""
        flops, score = method.flops_fraction, method.score
        assert flops.mean is not None and score.mean is not None
        return cls(
            method.label,
            100 * flops.mean,
            None if flops.std is None else 100 * flops.std,
            metric.shown(score.mean),
            None if score.std is None else metric.shown(score.std),
        )


def draw_comparison(result: ComparisonResult, path: Path) -> str | None:
    """Draw a result to ``path``; returns the reason if there is no plot.

    Every method with a finished row is a point at its mean accuracy and mean share of FLOPs; with several seeds,
    the bars are standard deviations over seeds.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return MISSING
    metric = metric_of(result)
    points = [_Point.of(method, metric) for method in result.methods if method.done]
    if not points:
        return "no row is finished"
    figure = Figure(figsize=SIZE, dpi=150, layout="constrained")
    axes = figure.add_subplot()
    colours = _colours(len(points))
    _points(axes, points, colours)
    _frame(axes, result)
    baseline = result.baseline.score
    if baseline is not None:
        _baseline(axes, metric.shown(baseline))
    _labels(axes, points, colours, None if baseline is None else metric.shown(baseline))
    with written_aside(path) as aside:
        FigureCanvasAgg(figure).print_png(str(aside))
    return None


def _colours(count: int) -> list[Any]:
    """Return a colour for each method; ten colours repeat, since labels identify the methods."""
    from matplotlib import colormaps

    return [colormaps["tab10"](number % 10) for number in range(count)]


def _points(axes: "Axes", points: list[_Point], colours: list[Any]) -> None:
    for point, colour in zip(points, colours, strict=True):
        axes.errorbar(
            point.flops,
            point.score,
            xerr=point.flops_std,
            yerr=point.score_std,
            fmt="o",
            markersize=5,
            capsize=3,
            linewidth=1,
            color=colour,
        )


def _frame(axes: "Axes", result: ComparisonResult) -> None:
    """Set the titles, and explain the bars."""
    seeds = result.seeds
    bars = f"bars: standard deviation over {seeds} seeds" if seeds > 1 else "one seed: no spread is known"
    setting = result.settings
    subject = f"{setting.get('model', result.source)} on {setting.get('data', '?')}, {result.target}"
    axes.set_title(f"{subject}\n{bars}", fontsize=10, loc="left")
    axes.set_xlabel("FLOPs that remain (%)")
    metric = metric_of(result)
    axes.set_ylabel(f"test {metric.title} after fine-tuning" + (f" ({metric.unit})" if metric.unit else ""))
    axes.grid(alpha=0.25)
    axes.margins(y=0.12)
    axes.spines[["top", "right"]].set_visible(False)


def _room_for_labels(axes: "Axes") -> float:
    """Widen the x axis to the right for labels; returns the end of its scale, which excludes their room."""
    low, high = axes.get_xlim()
    middle, width = (low + high) / 2, max(high - low, NARROWEST)
    left, right = middle - width / 2, middle + width / 2
    axes.set_xlim(left, right + LABELS * width)
    axes.set_xticks([tick for tick in axes.get_xticks() if left <= tick <= right])
    axes.spines["bottom"].set_bounds(left, right)
    return right


def _baseline(axes: "Axes", height: float) -> None:
    """Draw the baseline's metric as a line, since its FLOPs are far to the right."""
    end = 1 / (1 + LABELS)  # end of the scale, as a share of the axes
    axes.axhline(height, xmax=end, color="0.4", linewidth=0.9, linestyle="--", zorder=0)


def _labels(axes: "Axes", points: list[_Point], colours: list[Any], baseline: float | None) -> None:
    """Draw a column of names to the right of the points, each with a thin line to its point."""
    end = _room_for_labels(axes)
    entries = [
        (point.flops, point.score, point.label, colour) for point, colour in zip(points, colours, strict=True)
    ]
    if baseline is not None:  # above methods of equal accuracy, so that the lines do not cross
        entries.insert(0, (end, baseline, "baseline, all FLOPs", "0.2"))
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    heights = pushed_apart([(y - low) / (high - low) for _, y, _, _ in entries], ROW)
    for (x, y, name, colour), height in zip(entries, heights, strict=True):
        line = {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "alpha": 0.7, "relpos": (0, 0.5)}
        axes.annotate(
            f"{name}  {y:.2f}",
            (x, y),
            xytext=(end + 0.03 * (right - left), low + height * (high - low)),
            fontsize=LABEL_POINTS,
            va="center",
            color=colour,
            arrowprops={**line, "shrinkA": 2, "shrinkB": 3},
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        )


def pushed_apart(ideal: Sequence[float], gap: float) -> list[float]:
    """Return positions from 0 to 1 at least ``gap`` apart, near the ideal ones and in their order.

    If there is no room for all, the gap shrinks.

    >>> pushed_apart([0.5, 0.5], 0.2)
    [0.6, 0.4]
    """
    count = len(ideal)
    gap = min(gap, 1 / max(1, count))
    order = sorted(range(count), key=lambda index: -ideal[index])  # from the top down
    levels = _falling([ideal[index] + gap * rank for rank, index in enumerate(order)])
    bottom, top = gap * (count - 0.5), 1 - gap / 2
    places = [0.0] * count
    for rank, index in enumerate(order):
        places[index] = min(max(levels[rank], bottom), top) - gap * rank
    return places


def _falling(values: Sequence[float]) -> list[float]:
    """Return the nearest sequence that never rises (isotonic regression by pooling adjacent values)."""
    pools: list[tuple[float, int]] = []
    for value in values:
        total, count = value, 1
        while pools and pools[-1][0] / pools[-1][1] < total / count:
            before = pools.pop()
            total, count = total + before[0], count + before[1]
        pools.append((total, count))
    return [total / count for total, count in pools for _ in range(count)]
