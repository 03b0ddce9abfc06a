"""Records of what pruning a file did, and its result as rows of text."""

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, UnsetType

from edgeprune.budget.targets import SUSTAINED
from edgeprune.records.pruning import Agreement, FileTimes, HeldOut, LearnedRecord, PruneSummary, error_line
from edgeprune.records.times import DeviceTimes, PlanEnergy


def held_out(step: str, agreement: Agreement) -> HeldOut:
    """Return the record of a step."""
    return HeldOut(
        step=step, top1=agreement.top1, relative_error=agreement.relative_error, inputs=agreement.inputs
    )


def result_lines(summary: PruneSummary) -> list[str]:
    """Return a result as rows of text."""
    lines = [] if summary.inputs is None else [f"inputs: {summary.inputs}"]
    lines += [f"{step.step}: {step} on {step.inputs} held-out inputs" for step in summary.held_out]
    if summary.held_out:
        lines.append(error_line(summary.held_out[-1]))
    if summary.distilled is not None:
        lines.append(learned_line(summary.distilled))
    before, after = summary.models.baseline, summary.models.pruned
    scored = (before.accuracy, after.accuracy, summary.accuracy_drop)
    if UNSET not in scored:
        baseline, pruned, drop = (100 * share for share in scored)  # type: ignore[operator]
        lines.append(
            f"accuracy {baseline:.2f} % -> {pruned:.2f} % ({-drop:+.2f} points) on "
            f"{before.test_images} labelled images"
        )
    for name, key in (("FLOPs", "flops"), ("parameters", "params"), ("bytes", "size_bytes")):
        old, new = getattr(before, key), getattr(after, key)
        lines.append(f"{name} {old:,} -> {new:,} ({new / max(old, 1):.3f})")
    if summary.latency is not None:
        lines += latency_lines(summary.latency)
        if summary.latency.energy is not UNSET:
            lines.append(energy_line(summary.latency, summary.latency.energy))
    lines += [f"kept: {count} channels ({reason})" for reason, count in summary.protected_channels.items()]
    return [*lines, *summary.notes]


def learned_line(learned: LearnedRecord) -> str:
    """Return what label-free fine-tuning did as one row of text."""
    text = f"learned from {learned.inputs} inputs for {learned.epochs} epochs"
    if learned.untrained:
        names = ", ".join(learned.untrained[:3]) + (", ..." if len(learned.untrained) > 3 else "")
        text += f"; {len(learned.untrained)} weights cannot learn, since no gradient reaches them ({names})"
    return text if learned.kept else f"{text}; the fitted weights agree more and were kept"


def latency_lines(latency: FileTimes) -> list[str]:
    """Return the latencies of both files as rows of text: one for each board."""
    if isinstance(latency.boards, UnsetType):
        return [_latency_line(latency, latency.conditions)]
    rows = [
        _latency_line(board, board.conditions, f"{board.host} ({board.conditions['device']})")
        for board in latency.boards
    ]
    return [*rows, f"of {len(rows)} boards the worst off counts"]


def _latency_line(times: DeviceTimes, conditions: Mapping[str, Any], where: str | None = None) -> str:
    """Return the latencies of both files on one device as a row of text.

    Args:
        times: of both.
        conditions: of the measurement.
        where: what the device is called; None for its profile's name.
    """
    value, low, high = times.speedup
    load = ", under lasting load" if conditions.get(SUSTAINED) else ""
    return (
        f"on {where or conditions['device']}{load}: {times.baseline_ms:.4g} ms -> {times.pruned_ms:.4g} ms, "
        f"{value:.3f} times as fast ({low:.3f} to {high:.3f})"
    )


def energy_line(latency: FileTimes, energy: PlanEnergy) -> str:
    """Return the energies of both files as one row of text.

    Args:
        latency: with the conditions of the measurement.
        energy: of both files.
    """
    value, low, high = energy.ratio
    return (
        f"energy of an inference: {energy.baseline_mj:.4g} mJ -> {energy.pruned_mj:.4g} mJ, {value:.3f} times less "
        f"({low:.3f} to {high:.3f}), by {latency.conditions.get('sensor')}, idle power included"
    )
