"""Sections about a comparison of methods, and about a search."""

from dataclasses import replace
from typing import Any

from edgeprune.report.blocks import Block, Figure, Folded, Remark, Section, Table
from edgeprune.report.charts import Estimate, Series, dot_rows, estimate_chart, line_chart
from edgeprune.report.runs import width_section
from edgeprune.tasks import Metric, metric_of


def comparison_sections(result: dict[str, Any]) -> list[Section]:
    """Return the methods in order of what they reached, as a chart and as tables.

    Args:
        result: of `edgeprune compare`.
    """
    metric = metric_of(result)
    done = [row for row in result["methods"] if row["accuracy"]["mean"] is not None]
    ranked = sorted(done, key=lambda row: -metric.worth(row["accuracy"]["mean"]))
    ranked += [row for row in result["methods"] if row not in done]
    rows = [
        (
            row["label"],
            str(row["done"]),
            metric.text(row["accuracy_before"]["mean"]),
            _with_spread(row["accuracy"], metric.scale, metric.unit),
            _with_spread(row["flops_fraction"], 100, "%"),
            _with_spread(row["speedup"], 1, "x"),
        )
        for row in ranked
    ]
    head = (
        "method",
        "runs",
        "before fine-tuning",
        f"{metric.title}, mean and spread",
        "FLOPs left",
        "speedup",
    )
    unpruned = metric.text(result["baseline"]["accuracy"])
    blocks: list[Block] = [Table(head, rows, f"Unpruned: {unpruned}. Target: {result['target']}.")]
    blocks += [Remark(reason, "warning", row["label"]) for row in ranked for reason in row["reasons"]]
    reached = [_estimate(row["label"], row["accuracy"], metric.scale) for row in ranked if row in done]
    if reached:
        title = f"{metric.title}{f', {metric.unit}' if metric.unit else ''}"
        caption = "Mean of each method's runs, the best first; the range is that of its seeds."
        blocks.insert(0, Figure(dot_rows(reached, title=title, x_title=title), caption))
    return [
        Section("Methods", blocks),
        _speedups([row for row in ranked if row in done and row["speedup"]["mean"] is not None], metric),
        _runs(result["rows"], metric),
    ]


def _speedups(rows: list[dict[str, Any]], metric: Metric) -> Section:
    """Return accuracy against measured speedup, where it was measured."""
    if not rows:
        return Section("Speedup", [Remark("No latency was measured.", "note")])
    estimates = [
        replace(_estimate(row["label"], row["speedup"], 1), y=metric.shown(row["accuracy"]["mean"]))
        for row in rows
    ]
    title = f"{metric.title} against speedup"
    chart = estimate_chart(estimates, title=title, x_title="measured speedup", y_title=metric.title)
    return Section("Speedup", [Figure(chart, "Means of each method's runs; the range is that of its seeds.")])


def _runs(rows: list[dict[str, Any]], metric: Metric) -> Section:
    cells = [
        (
            row["row"],
            row["status"],
            metric.text(row["accuracy"]),
            _percent(row["flops_fraction"]),
            _seconds(row["seconds"]),
            row["reason"] or "",
        )
        for row in rows
    ]
    table = Table(("run", "status", metric.title, "FLOPs left", "time", "reason"), cells)
    return Section("Runs", [Folded("Every run", table)])


def _estimate(name: str, values: dict[str, Any], scale: float) -> Estimate:
    ends = [scale * value for value in values["values"]]
    return Estimate(name, scale * values["mean"], min(ends), max(ends), 0.0, "pruned")


def search_sections(result: dict[str, Any]) -> list[Section]:
    """Return the course of a search and the widths that it chose.

    Args:
        result: of `edgeprune search`.
    """
    best, uniform, baseline = result["best"], result["uniform"], result["baseline"]
    rows = [("unpruned", _percent(baseline["reward"]), _percent(baseline["test"]), "")]
    if uniform:
        rows.append(
            ("equal ratios", _percent(uniform["reward"]), _percent(uniform["test"]), _fractions(uniform))
        )
    rows.append(("searched", _percent(best["reward"]), _percent(result["best_test"]), _fractions(best)))
    head = ("", "reward on held-out images", "test images", "of the baseline")
    blocks: list[Block] = [Table(head, rows, f"Target: {result['target']}; nothing was trained.")]
    rewards = [(float(t["number"]), 100 * t["reward"]) for t in result["trials"] if t["reward"] is not None]
    if rewards:
        running = [(number, max(value for n, value in rewards if n <= number)) for number, _ in rewards]
        chart = line_chart(
            [Series("trial", rewards, "baseline"), Series("best so far", running, "pruned")],
            title="Reward of each trial",
            x_title="trial",
            y_title="reward, %",
        )
        legend = (("baseline", "trial"), ("pruned", "best so far"))
        blocks.append(Figure(chart, "Reward of each trial, and the best so far.", legend))
    blocks += [Remark(note, "note") for note in result["notes"]]
    return [
        Section("Search", blocks),
        width_section(dict(zip(result["groups"], result["sizes"], strict=True)), best["widths"], "searched"),
        Section("Next", [Remark(result["next"], label="Train the plan")]),
    ]


def _with_spread(values: dict[str, Any], scale: float, unit: str) -> str:
    if values["mean"] is None:
        return "-"
    spread = "" if values["std"] is None else f" ± {scale * values['std']:.2f}"
    return f"{scale * values['mean']:.2f}{spread} {unit}".replace(" x", "x")


def _fractions(row: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value:.1%}" for name, value in row["fractions"].items())


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f} s"
