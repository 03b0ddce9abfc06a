"""The result of a comparison as rows of text."""

from typing import Any

from edgeprune.comparison.result import NOT_ASKED
from edgeprune.reporting.rows import Table


def table(result: dict[str, Any]) -> Table:
    """Columns and cells: the baseline, then the methods, the most accurate first; no column is empty."""
    heads = [("when" if result["moments"] else "method", "left")]
    names = ("before %", "after %", "params %", "FLOPs %", "time", "latency", "speedup")
    heads += [(name, "right") for name in names]
    base = result["baseline"]
    rows = [_cells(method) for method in result["methods"]]
    filled = [any(row[index] != "-" for row in rows) for index in range(len(heads))]
    if base["accuracy"] is not None:
        after, seconds = f"{100 * base['accuracy']:.2f}", _seconds(base["seconds"])
        rows.insert(0, ["baseline", "", after, "100.0", "100.0", seconds, "", ""])
    return _only(heads, filled), [_only(row, filled) for row in rows]


def _only(cells: list[Any], wanted: list[bool]) -> list[Any]:
    return [cell for cell, is_wanted in zip(cells, wanted, strict=True) if is_wanted]


def _cells(method: dict[str, Any]) -> list[str]:
    return [
        method["label"],
        _percent(method["accuracy_before"]),
        _percent(method["accuracy"]),
        _measure(method["params_fraction"], "{:.1f}", 100),
        _measure(method["flops_fraction"], "{:.1f}", 100),
        _seconds(method["seconds"]["mean"]),
        _measure(method["latency_ms"], "{:.3f} ms"),
        _measure(method["speedup"], "{:.2f}x"),
    ]


def _percent(found: dict[str, Any]) -> str:
    """'91.23 ± 0.15'; without a spread where there is none."""
    if found["mean"] is None:
        return "-"
    spread = "" if found["std"] is None else f" ± {100 * found['std']:.2f}"
    return f"{100 * found['mean']:.2f}{spread}"


def _measure(found: dict[str, Any], form: str, scale: float = 1) -> str:
    return "-" if found["mean"] is None else form.format(scale * found["mean"])


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f} s" if value < 600 else f"{value / 60:.0f} min"


def remarks(result: dict[str, Any]) -> list[str]:
    """What a reader should know: spread, what failed and why, what was not measured."""
    seeds = result["seeds"]
    spread = f"means over {seeds} seeds ± standard deviation" if seeds > 1 else "one seed, so no spread"
    lines = [f"test accuracy before and after fine-tuning: {spread}"]
    for method in result["methods"]:
        lines += [f"{method['label']} failed: {reason}" for reason in method["reasons"]]
    missed = {
        f"{row['method']}: {note}" for row in result["rows"] for note in row["notes"] if "asked" in note
    }
    lines += sorted(missed)
    reasons = {row["latency_reason"] for row in result["rows"] if row["status"] == "done"} - {None, NOT_ASKED}
    lines += [f"latency: {reason}" for reason in sorted(reasons)]
    if result["plot_reason"]:
        lines.append(f"no plot: {result['plot_reason']}")
    return lines
