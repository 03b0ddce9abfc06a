"""Sections about a run: what was asked for and reached, the course of training, widths."""

from collections.abc import Iterator, Sequence
from typing import Any

from edgeprune.records.max_drop import MaxDropRecord
from edgeprune.records.runs import Summary
from edgeprune.report.blocks import Block, Figure, Folded, Remark, Section, Table
from edgeprune.report.charts import Band, Series, line_chart, width_chart
from edgeprune.reporting.drops import drop_lines, drop_table, interval_lines
from edgeprune.reporting.rows import percent, size_rows
from edgeprune.runs.points import read_max_drop
from edgeprune.runs.run import Run
from edgeprune.tasks import Metric, metric_of

FEWEST = 3  # points of a curve; of fewer the values are said
STAGES = {"baseline": "baseline", "prune": "pruning", "finetune": "fine-tuning"}


def run_sections(run: Run, summary: Summary) -> list[Section]:
    """Return the sections that a run folder alone can fill.

    Args:
        run: a finished run.
        summary: its summary.
    """
    metric = metric_of(summary)
    tried = read_max_drop(run.path)
    sections = [outcome(summary), networks_tried(tried), course(_metrics(run, tried), metric), widths(run)]
    return [section for section in sections if section.blocks]


def outcome(summary: Summary) -> Section:
    """Return what was asked for, what was reached, and both models in numbers."""
    targets = summary.targets or (summary.target,)
    targets_table = Table(
        ("target", "asked for", "reached"),
        [(target.kind, target.target, percent(target.got_fraction, 1)) for target in targets],
        "Shares of the baseline.",
    )
    rows = [(row.what, row.baseline, row.pruned, row.change) for row in size_rows(summary)]
    blocks: list[Block] = [targets_table, Table(("", "baseline", "pruned", "change"), rows)]
    blocks += [Remark(line, "note") for line in (*interval_lines(summary), *summary.notes)]
    return Section("Asked and reached", blocks)


def networks_tried(record: MaxDropRecord | None) -> Section:
    """Return the networks that a run with a largest drop tried: the metric against what is left."""
    if record is None or not record.points:
        return Section("Networks that were tried")
    metric = metric_of(record)
    kind = record.resource
    points = sorted(record.points, key=lambda point: point.got_fraction or point.flops_fraction)
    shares = [100 * (point.got_fraction or point.flops_fraction) for point in points]
    scores = [metric.shown(point.pruned) for point in points]
    baseline = metric.shown(points[0].baseline)
    least = baseline - record.max_drop * (1 if metric.higher_is_better else -1)
    title = f"{metric.title}{f', {metric.unit}' if metric.unit else ''}"
    chart = line_chart(
        [
            Series("networks", [*zip(shares, scores, strict=True), (100.0, baseline)], "pruned"),
            Series("the limit", [(shares[0], least), (100.0, least)], "baseline"),
        ],
        title=f"{metric.title} of each network against what is left of the {kind}",
        x_title=f"{kind} left, %",
        y_title=title,
    )
    heads, cells = drop_table(record)
    legend = (("pruned", "networks"), ("baseline", f"limit: {record.max_drop:g} below the baseline"))
    table = Table(tuple(name for name, _ in heads), [tuple(row) for row in cells])
    remarks: list[Block] = [Remark(line, "note") for line in drop_lines(record)]
    return Section(
        "Networks that were tried", [Figure(chart, "On the images that choose.", legend), table, *remarks]
    )


def _metrics(run: Run, tried: MaxDropRecord | None) -> list[dict[str, Any]]:
    """Return the lines of a run's training; of one that tried several networks, with those of the chosen one."""
    lines = run.training.metrics()
    if tried is None or tried.chosen is None:
        return lines
    return [*lines, *Run.open(run.path / tried.chosen).training.metrics()]


def course(lines: Sequence[dict[str, Any]], metric: Metric) -> Section:
    """Return the metric and the loss over the steps of training, with its stages.

    Args:
        lines: of metrics.jsonl.
        metric: of the task.
    """
    bands = list(_stages(lines))
    start = {band.name: band.start for band in bands}
    blocks: list[Block] = []
    for title, curves, scale in _figures(metric):
        series = []
        for key, name, kind in curves:
            points = [
                (start[_title(line["stage"])] + line["step"], scale * line[key])
                for line in lines
                if isinstance(line.get(key), (int, float))
            ]
            series += [Series(name, points, kind)] if points else []
        if series and max(len(line.points) for line in series) < FEWEST:
            blocks.append(Remark(_in_words(title, series)))
        elif series:
            chart = line_chart(series, title=title, x_title="steps of training", y_title=title, bands=bands)
            legend = [(line.kind, line.name) for line in series] if len(curves) > 1 else []
            blocks.append(Figure(chart, f"{title[:1].upper()}{title[1:]}, stage by stage.", legend))
    return Section("Training", blocks)


def _in_words(title: str, series: Sequence[Series]) -> str:
    """Return a sentence with the points of curves that are too short for a plot."""
    curves = []
    for line in series:
        values = " and ".join(f"{value:.4g} at step {step:,.0f}" for step, value in line.points)
        curves.append(values if line.name in title else f"{line.name} {values}")
    return f"{title[:1].upper()}{title[1:]}: {'; '.join(curves)} (too few points for a plot)."


def _figures(metric: Metric) -> list[tuple[str, list[tuple[str, str, str]], float]]:
    """Return what is drawn over the steps of training: title, (key, name, kind) of each curve, factor for display."""
    held_out = f"{metric.title} on the held-out images{f', {metric.unit}' if metric.unit else ''}"
    return [
        (held_out, [(f"val_{metric.name}", held_out, "pruned")], metric.scale),
        ("training loss", [("loss", "training loss", "pruned")], 1.0),
        (
            "what the masks leave, %",
            [("flops_fraction", "FLOPs", "pruned"), ("params_fraction", "parameters", "third")],
            100.0,
        ),
        ("interacting, iterations ahead", [("interacting", "interacting", "pruned")], 1.0),
    ]


def _stages(lines: Sequence[dict[str, Any]]) -> Iterator[Band]:
    """Yield the stages one after the other: each counts its steps from zero or goes on from the one before."""
    end = 0.0
    for stage in dict.fromkeys(line["stage"] for line in lines):
        steps = [line["step"] for line in lines if line["stage"] == stage]
        start = end if min(steps) < end else 0.0
        yield Band(_title(stage), start if start else end, start + max(steps))
        end = start + max(steps)


def _title(stage: str) -> str:
    return STAGES.get(stage, stage)


def widths(run: Run) -> Section:
    """Return each group's channels before and after."""
    plans, _ = run.removals.plans_and_steps()
    if not plans:
        return Section("Widths")
    before = {group.name: group.size for group in plans[0].groups if group.size}
    if not before:
        return Section(
            "Widths", [Remark("This run's version did not record the widths before pruning.", "note")]
        )
    after = {**before, **{group.name: len(group.kept) for plan in plans for group in plan.groups}}
    return width_section(before, [after[name] for name in before], "pruned")


def width_section(before: dict[str, int], after: Sequence[int], word: str) -> Section:
    """Return groups of channels along the network, before and after.

    Args:
        before: channels of each group, by its name.
        after: those that are kept.
        word: for what is kept.
    """
    names, old = list(before), list(before.values())
    chart = width_chart(names, old, after, title="Channels of each group before and after")
    rows = [
        (name, str(a), str(b), percent(b / a, 0) if b else "removed whole")
        for name, a, b in zip(names, old, after, strict=True)
    ]
    caption = "Channels that are pruned together, along the network: before, and what is kept."
    legend = (("baseline", "baseline"), ("pruned", word))
    return Section(
        "Widths",
        [
            Figure(chart, caption, legend),
            Folded("The same in numbers", Table(("group", "before", word, "share"), rows)),
        ],
    )


def settings(run: Run) -> Section:
    """Return the run's options and versions."""
    config = run.config
    rows = [(name, "-" if value is None else str(value)) for name, value in config["options"].items()]
    made = [*config.get("versions", {}).items(), *config.get("machine", {}).items()]
    return Section(
        "Settings",
        [
            Folded("Options", Table(("option", "value"), rows)),
            Folded("Versions and machine", Table(("", ""), [(name, str(value)) for name, value in made])),
        ],
    )
