"""Sections about the pruning of a finished network: agreement step by step, sizes, how far it can go."""

from pathlib import Path

from msgspec import UnsetType

from edgeprune.records.pruning import Agreement, HeldOut, PruneConfig, PruneSummary, error_line
from edgeprune.report.blocks import Block, Figure, Folded, Remark, Section, Table
from edgeprune.report.charts import Series, line_chart
from edgeprune.reporting.rows import percent, quantity, times
from edgeprune.runs.file_runs import FileRun


def file_facts(summary: PruneSummary) -> list[tuple[str, str, str]]:
    """Return what is shown large: agreement, shares, and the speedup where it was measured.

    Args:
        summary: of `edgeprune prune`.
    """
    facts = [(*agreement(final_step(summary)), "")]
    facts.append((percent(summary.flops_fraction, 1), "of the FLOPs left", ""))
    facts.append((percent(summary.params_fraction, 1), "of the parameters left", ""))
    if summary.latency:
        value, low, high = summary.latency.speedup
        kind = "good" if low > 1 else "bad"
        facts.append((f"{value:.2f}x", f"measured speedup ({low:.2f} to {high:.2f})", kind))
    return facts


def final_step(summary: PruneSummary) -> HeldOut:
    """Return the agreement after the step that was kept: a fit that made it worse was dropped."""
    steps = summary.held_out
    if summary.distilled and summary.distilled.kept:
        return steps[-1]
    undistilled = [step for step in steps if not step.step.startswith("distilled")]
    return undistilled[0] if summary.fit == "none" else undistilled[-1]


def agreement(step: Agreement) -> tuple[str, str]:
    """Return how far held-out inputs agree with the original, and what the number is."""
    if step.top1 is not None:
        return percent(step.top1, 1), f"of {step.inputs} held-out inputs keep their class"
    return (
        f"{step.relative_error:.3g}",
        f"relative error of the outputs on {step.inputs} held-out inputs",
    )


def file_sections(run: FileRun, summary: PruneSummary) -> list[Section]:
    """Return the sections of a pruned file.

    Args:
        run: a finished one.
        summary: its summary.json.
    """
    return [_agreement(summary), _sizes(summary), *curve_sections(run), _left_alone(summary), _settings(run)]


def _agreement(summary: PruneSummary) -> Section:
    rows = [
        (
            step.step,
            percent(step.top1, 1),
            f"{step.relative_error:.3g}",
            str(step.inputs),
        )
        for step in summary.held_out
    ]
    head = ("after", "same class", "relative error", "held-out inputs")
    blocks: list[Block] = [Table(head, rows, "Agreement with the original on inputs that took no part.")]
    if summary.held_out:
        blocks.append(Remark(error_line(summary.held_out[-1]), "note"))
    if summary.fit == "none" and len(rows) > 1:
        blocks.append(Remark("The fit made it worse and was dropped.", "note"))
    blocks += [Remark(text, "warning", "warning") for text in summary.warnings]
    return Section("Agreement", blocks)


def _sizes(summary: PruneSummary) -> Section:
    baseline, pruned = summary.models.baseline, summary.models.pruned
    rows = []
    for key, what, unit, scale in (
        ("params", "parameters", "", 1.0),
        ("flops", "FLOPs", "M", 1e6),
        ("size_bytes", "file size", "kB", 1e3),
    ):
        before, after = getattr(baseline, key), getattr(pruned, key)
        if key == "params":
            texts = (f"{before:,}", f"{after:,}")
        else:
            texts = (quantity(before, unit, scale), quantity(after, unit, scale))
        rows.append((what, *texts, times(before, after)))
    if not isinstance(baseline.accuracy, UnsetType) and not isinstance(pruned.accuracy, UnsetType):
        change = f"{100 * (pruned.accuracy - baseline.accuracy):+.2f} points"
        rows.append(("accuracy", percent(baseline.accuracy), percent(pruned.accuracy), change))
    if summary.latency:
        boards = summary.latency.boards
        for name, own in (
            (("latency", summary.latency),)
            if isinstance(boards, UnsetType)
            else [(f"latency on {board.host}", board) for board in boards]
        ):
            before, after = own.baseline_ms, own.pruned_ms
            rows.append((name, f"{before:.3f} ms", f"{after:.3f} ms", times(before, after)))
        if not isinstance(energy := summary.latency.energy, UnsetType):
            before, after = energy.baseline_mj, energy.pruned_mj
            rows.append(
                ("energy of an inference", f"{before:.3f} mJ", f"{after:.3f} mJ", times(before, after))
            )
    return Section("Before and after", [Table(("", "original", "pruned", "change"), rows)])


def curve_sections(run: FileRun) -> list[Section]:
    """Return how far the network can go, where that was looked for."""
    curve = run.curve()
    if curve is None:
        return []
    by_class = all(point.top1 is not None for point in curve.points)
    title = "same class, %" if by_class else "relative error of the outputs"
    points = [
        (
            100 * point.flops_fraction,
            point.relative_error if point.top1 is None or not by_class else 100 * point.top1,
        )
        for point in curve.points
    ]
    chart = line_chart(
        [Series("agreement", points, "pruned")], title=title, x_title="FLOPs left, %", y_title=title
    )
    return [
        Section("How far it can go", [Figure(chart, "Agreement with the original against what is left.")])
    ]


def _left_alone(summary: PruneSummary) -> Section:
    rows = [(reason, f"{count:,}") for reason, count in summary.protected_channels.items()]
    blocks: list[Block] = [Table(("channels that were left alone", "count"), rows)] if rows else []
    return Section("Left alone", [*blocks, *[Remark(note, "note") for note in summary.notes]])


def _settings(run: FileRun) -> Section:
    config = run.config
    rows = [("model", config.model), ("images", config.images or "-")]
    rows += [(name, "-" if value is None else str(value)) for name, value in config.options.items()]
    return Section("Settings", [Folded("Options", Table(("option", "value"), rows))])


def file_title(config: PruneConfig) -> str:
    """Return the title of the page."""
    return f"{Path(config.model).name}, pruned"
