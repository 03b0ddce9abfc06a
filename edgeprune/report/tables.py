"""Sections about a comparison of methods, and about a search."""

import math
from collections.abc import Iterable
from dataclasses import replace

from edgeprune.records.comparison import Average, ComparisonResult, MethodResult, RowResult
from edgeprune.records.search import SearchResult, TrialRecord, UniformPolicy
from edgeprune.report.blocks import Block, Figure, Folded, Remark, Section, Table
from edgeprune.report.charts import Series, line_chart
from edgeprune.report.estimates import Estimate, dot_rows, estimate_chart, estimate_text, told_moved
from edgeprune.report.runs import width_section
from edgeprune.reporting.rows import percent
from edgeprune.tasks import Metric, metric_of


def comparison_sections(result: ComparisonResult) -> list[Section]:
    """Return the methods in order of what they reached, as a chart and as tables.

    Args:
        result: of `edgeprune compare`.
    """
    metric = metric_of(result)
    done = sorted(scored_methods(result), key=lambda method: -metric.worth(method.score.mean or 0.0))
    ranked = [*done, *(method for method in result.methods if method not in done)]
    rows = [
        (
            method.label,
            str(method.done),
            metric.text(method.score_before.mean),
            _with_spread(method.score, metric.scale, metric.unit),
            _with_spread(method.flops_fraction, 100, "%"),
            _with_spread(method.speedup, 1, "x"),
        )
        for method in ranked
    ]
    head = (
        "method",
        "runs",
        "before fine-tuning",
        f"{metric.title}, mean and spread",
        "FLOPs left",
        "speedup",
    )
    unpruned = metric.text(result.baseline.score)
    blocks: list[Block] = [Table(head, rows, f"Unpruned: {unpruned}. Target: {result.target}.")]
    blocks += [Remark(reason, "warning", method.label) for method in ranked for reason in method.reasons]
    reached = [_estimate(method.label, method.score, metric.scale) for method in done]
    if reached:
        title = f"{metric.title}{f', {metric.unit}' if metric.unit else ''}"
        caption = "Mean of each method's runs, the best first; the range is that of its seeds."
        blocks.insert(0, Figure(dot_rows(reached, title=title, x_title=title), caption))
    return [
        Section("Methods", blocks),
        _speedups([method for method in done if method.speedup.mean is not None], metric),
        _runs(result.rows, metric),
    ]


def scored_methods(result: ComparisonResult) -> list[MethodResult]:
    """Return the methods of which a row is finished."""
    return [method for method in result.methods if method.score.mean is not None]


def _speedups(methods: list[MethodResult], metric: Metric) -> Section:
    """Return accuracy against measured speedup, where it was measured."""
    if not methods:
        return Section("Speedup", [Remark("No latency was measured.", "note")])
    estimates = [
        replace(_estimate(method.label, method.speedup, 1), y=metric.shown(method.score.mean or 0.0))
        for method in methods
    ]
    title = f"{metric.title} against speedup"
    chart = estimate_chart(estimates, title=title, x_title="measured speedup", y_title=metric.title)
    caption = told_moved(chart, "Means of each method's runs; the range is that of its seeds.")
    texts = [
        f"{estimate_text(estimate)}; {metric.title} {metric.text(method.score.mean)}"
        for estimate, method in zip(estimates, methods, strict=True)
    ]
    return Section("Speedup", [Figure(chart, caption, numbered=texts)])


def _runs(rows: Iterable[RowResult], metric: Metric) -> Section:
    cells = [
        (
            row.row,
            row.status,
            metric.text(row.score),
            percent(row.flops_fraction),
            _seconds(row.seconds),
            row.reason or "",
        )
        for row in rows
    ]
    table = Table(("run", "status", metric.title, "FLOPs left", "time", "reason"), cells)
    return Section("Runs", [Folded("Every run", table)])


def _estimate(name: str, average: Average, scale: float) -> Estimate:
    ends = [scale * value for value in average.values]
    return Estimate(name, scale * (average.mean or 0.0), min(ends), max(ends), 0.0, "pruned")


def search_sections(result: SearchResult) -> list[Section]:
    """Return the course of a search and the widths that it chose.

    Args:
        result: of `edgeprune search`.
    """
    best, uniform, baseline = result.best, result.uniform, result.baseline
    metric = metric_of(result)

    def row(name: str, reward: float | None, test: float | None, share: str) -> tuple[str, ...]:
        return name, metric.text(None if reward is None else metric.worth(reward)), metric.text(test), share

    rows = [row("unpruned", baseline.reward, baseline.test, "")]
    if uniform:
        rows.append(row("equal ratios", uniform.reward, uniform.test, _fractions(uniform)))
    rows.append(row("searched", best.reward, result.best_test, _fractions(best)))
    head = ("", f"{metric.title} on held-out images", "test images", "of the baseline")
    blocks: list[Block] = [Table(head, rows, f"Target: {result.target}; nothing was trained.")]
    if result.trials:
        blocks.append(_course(result, metric))
    blocks += [Remark(note, "note") for note in result.notes]
    return [
        Section("Search", blocks),
        width_section(dict(zip(result.groups, result.sizes, strict=True)), best.widths, "searched"),
        Section("Next", [Remark(result.next, label="Train the plan")]),
    ]


def _course(result: SearchResult, metric: Metric) -> Figure:
    """Return the picture of the metric over a search's trials."""
    best, trials, running = -math.inf, [], []
    for trial in result.trials:
        best = max(best, trial.reward)
        trials.append((float(trial.number), metric.shown(metric.worth(trial.reward))))
        running.append((float(trial.number), metric.shown(metric.worth(best))))
    title = metric.title[:1].upper() + metric.title[1:]
    chart = line_chart(
        [Series("trial", trials, "baseline"), Series("best so far", running, "pruned")],
        title=f"{title} of each trial",
        x_title="trial",
        y_title=f"{metric.title}, {metric.unit}" if metric.unit else metric.title,
    )
    legend = (("baseline", "trial"), ("pruned", "best so far"))
    return Figure(chart, f"{title} of each trial, and the best so far.", legend)


def _with_spread(average: Average, scale: float, unit: str) -> str:
    if average.mean is None:
        return "-"
    spread = "" if average.std is None else f" ± {scale * average.std:.2f}"
    return f"{scale * average.mean:.2f}{spread} {unit}".replace(" x", "x")


def _fractions(policy: UniformPolicy | TrialRecord) -> str:
    return ", ".join(f"{name} {percent(value, 1)}" for name, value in policy.fractions.items())


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f} s"
