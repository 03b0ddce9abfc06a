"""Format the result of a comparison as rows of text."""

from collections.abc import Mapping
from typing import Any

from msgspec import UnsetType

from edgeprune.comparison.result import NOT_ASKED
from edgeprune.records.comparison import Average, ComparisonResult, MethodResult
from edgeprune.reporting.rows import Table
from edgeprune.tasks import Metric, metric_of


def comparison_table(result: ComparisonResult) -> Table:
    """Tabulate the baseline, then the methods, the best first; empty columns are left out."""
    metric = metric_of(result)
    heads = [("when" if result.moments else "method", "left")]
    scored = [f"{when} {metric.unit}".rstrip() for when in ("before", "after")]
    names = (*scored, "params %", "FLOPs %", "time", "latency", "speedup")
    hosts = list(dict.fromkeys(host for method in result.methods for host in _boards_ms(method)))
    heads += [(name, "right") for name in (*names, *(f"on {host}" for host in hosts))]
    base = result.baseline
    rows = [_cells(method, metric, hosts) for method in result.methods]
    filled = [any(row[index] != "-" for row in rows) for index in range(len(heads))]
    if base.score is not None:
        after, seconds = f"{metric.shown(base.score):.2f}", _seconds(base.seconds)
        rows.insert(0, ["baseline", "", after, "100.0", "100.0", seconds, "", "", *[""] * len(hosts)])
    return _only(heads, filled), [_only(row, filled) for row in rows]


def _only(cells: list[Any], filled: list[bool]) -> list[Any]:
    return [cell for cell, is_filled in zip(cells, filled, strict=True) if is_filled]


def _boards_ms(method: MethodResult) -> Mapping[str, Average]:
    return {} if isinstance(method.boards_ms, UnsetType) else method.boards_ms


def _cells(method: MethodResult, metric: Metric, hosts: list[str]) -> list[str]:
    boards = _boards_ms(method)
    return [
        method.label,
        _scored(method.score_before, metric),
        _scored(method.score, metric),
        _mean(method.params_fraction, "{:.1f}", 100),
        _mean(method.flops_fraction, "{:.1f}", 100),
        _seconds(method.seconds.mean),
        _mean(method.latency_ms, "{:.3f} ms"),
        _mean(method.speedup, "{:.2f}x"),
        *(_mean(boards[host], "{:.3f} ms") if host in boards else "-" for host in hosts),
    ]


def _scored(average: Average, metric: Metric) -> str:
    """Format '91.23 ± 0.15' in the metric's unit, without a spread where there is none."""
    if average.mean is None:
        return "-"
    spread = "" if average.std is None else f" ± {metric.shown(average.std):.2f}"
    return f"{metric.shown(average.mean):.2f}{spread}"


def _mean(average: Average, form: str, scale: float = 1) -> str:
    return "-" if average.mean is None else form.format(scale * average.mean)


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f} s" if value < 600 else f"{value / 60:.0f} min"


def comparison_remarks(result: ComparisonResult) -> list[str]:
    """Return notes on the table: spread, failures with their reasons, missing measurements."""
    seeds = result.seeds
    spread = f"means over {seeds} seeds ± standard deviation" if seeds > 1 else "one seed, so no spread"
    lines = [f"test {metric_of(result).title} before and after fine-tuning: {spread}"]
    for method in result.methods:
        lines += [f"{method.label} failed: {reason}" for reason in method.reasons]
    missed = {f"{row.method}: {note}" for row in result.rows for note in row.notes if "asked" in note}
    lines += sorted(missed)
    reasons = {row.latency_reason for row in result.rows if row.is_done and row.latency_reason}
    lines += [f"latency: {reason}" for reason in sorted(reasons - {NOT_ASKED})]
    hosts: dict[str, list[str]] = {}
    for row in result.rows:
        if isinstance(row.host, str):
            hosts.setdefault(row.host, []).append(row.row)
    lines += [f"made on {host}: {', '.join(names)}" for host, names in sorted(hosts.items())]
    measured_on = {row.host for row in result.rows if row.latency is not None}
    if len(measured_on) > 1:
        lines.append("latencies are of several machines: compare speedups, each of which is of one machine")
    if result.plot_reason:
        lines.append(f"no plot: {result.plot_reason}")
    return lines
