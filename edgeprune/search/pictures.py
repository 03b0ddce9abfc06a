"""What a search looks like: progress, the dendrogram, the best policies, accuracy over the budget."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprune.files.writing import written_aside
from edgeprune.search.folder import Folder
from edgeprune.search.result import best_trials

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MISSING = "matplotlib is not installed: pip install 'edgeprune[plot]', then --resume"
STAGES = {"clusters": "clusters", "bridge": "after the first rollback", "layers": "a variable for each group"}
POLICIES = 5  # in the picture of ratios
WIDE = 2.0  # percent on either side of the budget that the picture of the front shows at least


def draw(result: dict[str, Any], folder: Folder) -> tuple[list[str], str | None]:
    """Draw all pictures of a result; their file names, and the reason where there are none."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return [], MISSING
    wanted: dict[str, Callable[[Figure, dict[str, Any]], None]] = {"ratios": ratios, "front": front}
    if len(result["trials"]) > 1:
        wanted["progress"] = lambda figure, result: progress(figure, [result])
    if result["links"] and result["clusters"]:
        wanted["dendrogram"] = dendrogram
    drawn = []
    for name, picture in wanted.items():
        figure = Figure(figsize=(8.0, 4.8), dpi=150, layout="constrained")
        picture(figure, result)
        with written_aside(folder.picture(name)) as aside:
            FigureCanvasAgg(figure).print_png(str(aside))
        drawn.append(folder.picture(name).name)
    return drawn, None


def strategy_of(result: dict[str, Any]) -> str:
    """A search's way, in words."""
    if result["clusters"] is None:
        return {"gp": "plain BO", "tpe": "TPE"}.get(result["sampler"], result["sampler"])
    way = {"none": "clusters", "direct": "clusters, direct rollback", "gradual": "clusters, gradual rollback"}
    tpe = "" if result["sampler"] == "gp" else f" ({result['sampler']})"
    return way[result["rollback"]] + tpe


def best_so_far(result: dict[str, Any]) -> np.ndarray:
    """The highest reward after each trial."""
    return np.maximum.accumulate([one["reward"] for one in result["trials"]])


def progress(figure: "Figure", results: Sequence[dict[str, Any]]) -> None:
    """Best reward over trials: a line for each strategy, the mean of its seeds in a band of all."""
    axes = figure.add_subplot()
    ways: dict[str, list[dict[str, Any]]] = {}
    for one in results:
        ways.setdefault(strategy_of(one), []).append(one)
    for way, runs in ways.items():
        length = min(len(one["trials"]) for one in runs)
        lines = 100 * np.stack([best_so_far(one)[:length] for one in runs])
        x = np.arange(1, length + 1)
        (line,) = axes.plot(x, lines.mean(0), linewidth=1.6, label=f"{way}: {lines.mean(0)[-1]:.2f} %")
        if len(runs) > 1:
            axes.fill_between(x, lines.min(0), lines.max(0), color=line.get_color(), alpha=0.15, linewidth=0)
        else:
            _points(axes, runs[0])
    uniform = [one["uniform"]["reward"] for one in results if one["uniform"]]
    if uniform:
        level = 100 * float(np.mean(uniform))
        axes.axhline(level, color="0.4", linestyle="--", linewidth=0.9, label=f"uniform: {level:.2f} %")
    # The worst policies of a design are far below the rest, and not what the picture is about.
    shown = [100 * float(np.quantile([t["reward"] for t in one["trials"]], 0.25)) for one in results]
    top = max(100 * best_so_far(one)[-1] for one in results)
    bottom = min([*shown, *[100 * level for level in uniform]])
    axes.set_ylim(bottom - 0.08 * (top - bottom) - 0.1, top + 0.1 * (top - bottom) + 0.1)
    _frame(axes, results[0], "best policy so far, without training", "trials", _held_out(results[0]))
    axes.legend(loc="lower right", fontsize=9, frameon=False)


def _points(axes: "Axes", result: dict[str, Any]) -> None:
    """Every policy, by the stage it was asked in."""
    for stage in dict.fromkeys(one["stage"] for one in result["trials"]):
        found = [
            (x, 100 * one["reward"])
            for x, one in enumerate(result["trials"], start=1)
            if one["stage"] == stage
        ]
        x, y = np.array(found).T
        axes.scatter(x, y, s=9, alpha=0.6, label=STAGES.get(stage, stage))


def ratios(figure: "Figure", result: dict[str, Any]) -> None:
    """What each group keeps in the best policies."""
    axes = figure.add_subplot()
    place = np.arange(len(result["groups"]))
    for number, one in enumerate(best_trials(result, POLICIES)):
        first = number == 0
        axes.step(
            place, 100 * np.asarray(one["ratios"]), where="mid",
            linewidth=2.0 if first else 0.9, color="C0" if first else "0.6", zorder=3 if first else 1,
            label=f"best, {100 * one['reward']:.2f} %" if first else ("next best" if number == 1 else None),
        )  # fmt: skip
    if result["uniform"]:
        share = 100 * np.asarray(result["uniform"]["widths"]) / np.asarray(result["sizes"])
        axes.step(place, share, where="mid", color="C1", linewidth=1.0, linestyle="--", label="uniform")
    axes.set_xticks(place, result["groups"], rotation=90, fontsize=7)
    axes.set_ylim(0, 104)
    _frame(axes, result, "what the best policies keep", "", "channels kept (%)")
    axes.legend(loc="best", fontsize=9, frameon=False)


def front(figure: "Figure", result: dict[str, Any]) -> None:
    """Accuracy over what remains, with the policies that no other beats in both."""
    axes = figure.add_subplot()
    kind = next(iter(result["target_fractions"]))
    x = np.array([100 * one["fractions"][kind] for one in result["trials"]])
    y = np.array([100 * one["reward"] for one in result["trials"]])
    axes.scatter(x, y, s=12, alpha=0.5, color="C0", label="policies")
    best = pareto(x, y)
    axes.plot(x[best], y[best], color="C3", marker="o", markersize=4, linewidth=1.2, label="Pareto front")
    if result["uniform"]:
        one = result["uniform"]
        axes.scatter(
            [100 * one["fractions"][kind]], [100 * one["reward"]], marker="s", color="C1", label="uniform"
        )
    asked = 100 * result["target_fractions"][kind]
    axes.axvline(asked, color="0.5", linewidth=0.8, linestyle=":")
    low, high = axes.get_xlim()  # all are brought onto the budget: what sets them apart there is rounding
    axes.set_xlim(min(low, asked - WIDE), max(high, asked + WIDE))
    _frame(axes, result, "the policies", f"{kind} that remain (%)", _held_out(result))
    axes.legend(loc="best", fontsize=9, frameon=False)


def pareto(x: np.ndarray, y: np.ndarray) -> list[int]:
    """Points with a higher y than any of at most their x, in the order of x."""
    found, top = [], -np.inf
    for index in np.lexsort((-y, x)).tolist():
        if y[index] > top:
            found.append(index)
            top = y[index]
    return found


def dendrogram(figure: "Figure", result: dict[str, Any]) -> None:
    """The tree of groups, and where it was cut."""
    from scipy.cluster import hierarchy

    axes, links = figure.add_subplot(), np.asarray(result["links"])
    cuts = {"clusters": result["clusters"]}
    if result["rollback"] == "gradual" and result["bridge"] < len(result["groups"]):
        cuts["bridge"] = result["bridge"]
    hierarchy.dendrogram(
        links, labels=result["groups"], ax=axes, leaf_rotation=90, leaf_font_size=7,
        color_threshold=height(links, result["clusters"]),
    )  # fmt: skip
    for (name, count), style in zip(cuts.items(), ("--", ":"), strict=False):
        axes.axhline(height(links, count), color="0.3", linestyle=style, linewidth=1.0)
        axes.annotate(
            f"{count} {'clusters' if name == 'clusters' else 'after rollback'}",
            (1.0, height(links, count)), xycoords=("axes fraction", "data"),
            ha="right", va="bottom", fontsize=8,
        )  # fmt: skip
    what = "groups by what they are made of" if result["distance"] == "st" else "groups by their importance"
    _frame(axes, result, what, "", f"distance ({result['distance']})")


def height(links: np.ndarray, clusters: int) -> float:
    """Where a tree is cut into so many."""
    heights = np.sort(links[:, 2])
    above = heights[len(heights) - clusters + 1] if clusters > 1 else heights[-1] * 1.1
    below = heights[len(heights) - clusters] if clusters <= len(heights) else 0.0
    return float((above + below) / 2)


def _held_out(result: dict[str, Any]) -> str:
    return f"accuracy on {result['images']} held-out images (%)"


def _frame(axes: "Axes", result: dict[str, Any], title: str, x: str, y: str) -> None:
    what = f"{result['model']} on {result['data']}, {result['target']}"
    axes.set_title(f"{title}\n{what}", fontsize=10, loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
