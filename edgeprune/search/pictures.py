"""Plots of a search: progress, the dendrogram, the best policies, accuracy over the budget."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprune.files.writing import written_aside
from edgeprune.records.search import SearchResult
from edgeprune.search.folder import SearchFolder
from edgeprune.search.result import best_trials
from edgeprune.tasks import metric_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MISSING = "matplotlib is not installed: pip install 'edgeprune[plot]', then --resume"
STAGES = {"clusters": "clusters", "bridge": "after the first rollback", "layers": "a variable for each group"}
POLICIES = 5  # number of policies in the plot of ratios
WIDE = 2.0  # least range on either side of the budget in the plot of the front, in percent


def draw_search(result: SearchResult, folder: SearchFolder) -> tuple[list[str], str | None]:
    """Draw all plots of a result; return their file names, and the reason where there are none."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return [], MISSING
    plots: dict[str, Callable[[Figure, SearchResult], None]] = {"ratios": plot_ratios, "front": plot_front}
    if len(result.trials) > 1:
        plots["progress"] = lambda figure, result: plot_progress(figure, [result])
    if result.links and result.clusters:
        plots["dendrogram"] = plot_dendrogram
    drawn = []
    for name, plot in plots.items():
        figure = Figure(figsize=(8.0, 4.8), dpi=150, layout="constrained")
        plot(figure, result)
        with written_aside(folder.picture(name)) as aside:
            FigureCanvasAgg(figure).print_png(str(aside))
        drawn.append(folder.picture(name).name)
    return drawn, None


def strategy_of(sampler: str, clusters: int | None, rollback: str | None) -> str:
    """Return a search's strategy in words.

    Args:
        sampler: of policies.
        clusters: number of clusters to begin with; None without them.
        rollback: how variables go from clusters to groups.
    """
    if clusters is None:
        return {"gp": "plain BO", "tpe": "TPE"}.get(sampler, sampler)
    strategy = {
        "none": "clusters",
        "direct": "clusters, direct rollback",
        "gradual": "clusters, gradual rollback",
    }
    return strategy[rollback or "none"] + ("" if sampler == "gp" else f" ({sampler})")


def best_so_far(result: SearchResult) -> np.ndarray:
    """Return the highest reward up to each trial."""
    return np.maximum.accumulate([trial.reward for trial in result.trials])


def plot_progress(figure: "Figure", results: Sequence[SearchResult]) -> None:
    """Plot the best reward over trials: for each strategy the mean of its seeds, in a band of their range."""
    axes, unit = figure.add_subplot(), metric_of(results[0]).unit
    by_strategy: dict[str, list[SearchResult]] = {}
    for result in results:
        strategy = strategy_of(result.sampler, result.clusters, result.rollback)
        by_strategy.setdefault(strategy, []).append(result)
    for strategy, runs in by_strategy.items():
        length = min(len(run.trials) for run in runs)
        lines = np.stack([_shown(run, best_so_far(run)[:length]) for run in runs])
        x = np.arange(1, length + 1)
        (line,) = axes.plot(
            x, lines.mean(0), linewidth=1.6, label=f"{strategy}: {lines.mean(0)[-1]:.2f} {unit}".rstrip()
        )
        if len(runs) > 1:
            axes.fill_between(x, lines.min(0), lines.max(0), color=line.get_color(), alpha=0.15, linewidth=0)
        else:
            _points(axes, runs[0])
    policies = [result.uniform for result in results if result.uniform]
    uniform = [policy.reward for policy in policies if policy.reward is not None]
    if uniform:
        level = float(np.mean(_shown(results[0], uniform)))
        label = f"uniform: {level:.2f} {unit}".rstrip()
        axes.axhline(level, color="0.4", linestyle="--", linewidth=0.9, label=label)
    # The worst policies of a design are far below the rest; they would compress the interesting range.
    low = [float(np.quantile([t.reward for t in result.trials], 0.25)) for result in results]
    best = max(best_so_far(result)[-1] for result in results)
    bottom, top = sorted(_shown(results[0], [min([*low, *uniform]), best]).tolist())
    axes.set_ylim(bottom - 0.08 * (top - bottom) - 0.1, top + 0.1 * (top - bottom) + 0.1)
    _frame(axes, results[0], "best policy so far, without training", "trials", _held_out(results[0]))
    axes.legend(loc="lower right", fontsize=9, frameon=False)


def _points(axes: "Axes", result: SearchResult) -> None:
    """Plot every policy, coloured by its stage."""
    for stage in dict.fromkeys(trial.stage for trial in result.trials):
        points = [
            (x, _shown(result, trial.reward))
            for x, trial in enumerate(result.trials, start=1)
            if trial.stage == stage
        ]
        x, y = np.array(points).T
        axes.scatter(x, y, s=9, alpha=0.6, label=STAGES.get(stage, stage))


def plot_ratios(figure: "Figure", result: SearchResult) -> None:
    """Plot the share that each group keeps in the best policies."""
    axes, unit = figure.add_subplot(), metric_of(result).unit
    place = np.arange(len(result.groups))
    for number, trial in enumerate(best_trials(result, POLICIES)):
        first = number == 0
        best = f"best, {_shown(result, trial.reward):.2f} {unit}".rstrip()
        axes.step(
            place, 100 * np.asarray(trial.ratios), where="mid",
            linewidth=2.0 if first else 0.9, color="C0" if first else "0.6", zorder=3 if first else 1,
            label=best if first else ("next best" if number == 1 else None),
        )  # fmt: skip
    if result.uniform:
        share = 100 * np.asarray(result.uniform.widths) / np.asarray(result.sizes)
        axes.step(place, share, where="mid", color="C1", linewidth=1.0, linestyle="--", label="uniform")
    axes.set_xticks(place, result.groups, rotation=90, fontsize=7)
    axes.set_ylim(0, 104)
    _frame(axes, result, "what the best policies keep", "", "channels kept (%)")
    axes.legend(loc="best", fontsize=9, frameon=False)


def plot_front(figure: "Figure", result: SearchResult) -> None:
    """Plot the task's metric over the remaining cost, with the Pareto front."""
    axes = figure.add_subplot()
    kind = next(iter(result.target_fractions))
    x = np.array([100 * trial.fractions[kind] for trial in result.trials])
    y = _shown(result, [trial.reward for trial in result.trials])
    axes.scatter(x, y, s=12, alpha=0.5, color="C0", label="policies")
    best = pareto(x, np.array([trial.reward for trial in result.trials]))
    axes.plot(x[best], y[best], color="C3", marker="o", markersize=4, linewidth=1.2, label="Pareto front")
    if result.uniform:
        uniform = result.uniform
        axes.scatter(
            [100 * uniform.fractions[kind]],
            [_shown(result, uniform.reward)],
            marker="s",
            color="C1",
            label="uniform",
        )
    target = 100 * result.target_fractions[kind]
    axes.axvline(target, color="0.5", linewidth=0.8, linestyle=":")
    low, high = axes.get_xlim()  # all policies are on the budget and differ there only by rounding
    axes.set_xlim(min(low, target - WIDE), max(high, target + WIDE))
    _frame(axes, result, "the policies", f"{kind} that remain (%)", _held_out(result))
    axes.legend(loc="best", fontsize=9, frameon=False)


def pareto(x: np.ndarray, y: np.ndarray) -> list[int]:
    """Return the indices of points whose y exceeds that of all points with at most their x, by x."""
    indices, top = [], -np.inf
    for index in np.lexsort((-y, x)).tolist():
        if y[index] > top:
            indices.append(index)
            top = y[index]
    return indices


def plot_dendrogram(figure: "Figure", result: SearchResult) -> None:
    """Plot the tree of groups and its cuts."""
    from scipy.cluster import hierarchy

    axes, links = figure.add_subplot(), np.asarray(result.links)
    clusters = result.clusters
    assert clusters is not None  # a search without clusters has no tree
    cuts = {"clusters": clusters}
    if result.rollback == "gradual" and result.bridge is not None and result.bridge < len(result.groups):
        cuts["bridge"] = result.bridge
    hierarchy.dendrogram(
        links, labels=[*result.groups], ax=axes, leaf_rotation=90, leaf_font_size=7,
        color_threshold=height(links, clusters),
    )  # fmt: skip
    for (name, count), style in zip(cuts.items(), ("--", ":"), strict=False):
        axes.axhline(height(links, count), color="0.3", linestyle=style, linewidth=1.0)
        axes.annotate(
            f"{count} {'clusters' if name == 'clusters' else 'after rollback'}",
            (1.0, height(links, count)), xycoords=("axes fraction", "data"),
            ha="right", va="bottom", fontsize=8,
        )  # fmt: skip
    title = "groups by their structure" if result.distance == "st" else "groups by their importance"
    _frame(axes, result, title, "", f"distance ({result.distance})")


def height(links: np.ndarray, clusters: int) -> float:
    """Return the height at which a tree is cut into ``clusters``."""
    heights = np.sort(links[:, 2])
    above = heights[len(heights) - clusters + 1] if clusters > 1 else heights[-1] * 1.1
    below = heights[len(heights) - clusters] if clusters <= len(heights) else 0.0
    return float((above + below) / 2)


def _held_out(result: SearchResult) -> str:
    metric = metric_of(result)
    return f"{metric.title} on {result.images} held-out images" + (f" ({metric.unit})" if metric.unit else "")


def _shown(result: SearchResult, rewards: Any) -> Any:
    """Return rewards as values of the task's metric, in its unit."""
    metric = metric_of(result)
    return np.asarray([metric.shown(metric.worth(reward)) for reward in np.atleast_1d(rewards)]).reshape(
        np.shape(rewards)
    )


def _frame(axes: "Axes", result: SearchResult, title: str, x: str, y: str) -> None:
    subtitle = f"{result.model} on {result.data}, {result.target}"
    axes.set_title(f"{title}\n{subtitle}", fontsize=10, loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
