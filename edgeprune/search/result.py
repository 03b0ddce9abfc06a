"""The trials of a search as records, and its result as rows of text."""

from collections.abc import Iterable

import numpy as np
import optuna
from msgspec import UnsetType
from optuna.trial import FrozenTrial

from edgeprune.graph.classes import Ints
from edgeprune.records.search import SearchResult, TrialRecord
from edgeprune.reporting.rows import Table
from edgeprune.search.projection import BudgetProjection
from edgeprune.search.sampler import RATIOS, finished
from edgeprune.tasks import Metric, metric_of

WIDTHS, STAGE, SECONDS, COPIED = "widths", "stage", "seconds", "copied"  # attributes of a trial
SHOWN = 5  # number of policies in the table


def best_of(study: optuna.Study) -> FrozenTrial | None:
    """Return the evaluated policy with the highest reward, the earliest of equals."""
    return max(finished(study), key=lambda trial: (trial.value or 0.0, -trial.number), default=None)


def trial_record(trial: FrozenTrial, projection: BudgetProjection) -> TrialRecord:
    """Return the record of a finished trial.

    Args:
        trial: of the study.
        projection: onto the budget; its costs give what remains at the trial's widths.
    """
    widths = np.asarray(trial.user_attrs[WIDTHS], dtype=np.int64)
    assert trial.value is not None
    return TrialRecord(
        number=trial.number,
        stage=trial.user_attrs[STAGE],
        reward=trial.value,
        widths=tuple(widths.tolist()),
        ratios=tuple(trial.user_attrs[RATIOS]),
        fractions=fractions_of(projection, widths),
        seconds=trial.user_attrs[SECONDS],
        copied_from=trial.user_attrs.get(COPIED),
    )


def fractions_of(projection: BudgetProjection, widths: Ints) -> dict[str, float]:
    """Return for each kind of cost the share of the unpruned model's that remains at some widths."""
    return {kind: cost(widths) / cost(projection.sizes) for kind, cost in projection.costs.items()}


def seconds_per_trial(trials: Iterable[FrozenTrial]) -> float | None:
    """Return the median time of an evaluation, without trials whose widths were evaluated before."""
    seconds = [trial.user_attrs[SECONDS] for trial in trials if COPIED not in trial.user_attrs]
    return float(np.median(seconds)) if seconds else None


def search_table(result: SearchResult) -> Table:
    """Tabulate the unpruned model, uniform ratios, and the best policies."""
    kinds, metric = list(result.target_fractions), metric_of(result)
    scored = [(f"{where} {metric.unit}".rstrip(), "right") for where in ("held out", "test")]
    heads = [("policy", "left"), ("trial", "right"), *scored]
    heads += [(f"{kind} %", "right") for kind in kinds]
    rows = [
        ["unpruned", "", *_scored(metric, result.baseline.reward, result.baseline.test)]
        + ["100.0"] * len(kinds)
    ]
    uniform = result.uniform
    if uniform is not None:
        rows.append(
            ["uniform", "", *_scored(metric, uniform.reward, uniform.test)]
            + [f"{100 * uniform.fractions[kind]:.1f}" for kind in kinds]
        )
    for place, trial in enumerate(best_trials(result, SHOWN)):
        tested = result.best_test if place == 0 else None
        rows.append(
            [
                "best" if place == 0 else f"{place + 1}.",
                str(trial.number),
                *_scored(metric, trial.reward, tested),
            ]
            + [f"{100 * trial.fractions[kind]:.1f}" for kind in kinds]
        )
    return heads, rows


def best_trials(result: SearchResult, count: int) -> list[TrialRecord]:
    """Return the best trials with different widths, the best first."""
    by_widths: dict[tuple[int, ...], TrialRecord] = {}
    for trial in sorted(result.trials, key=lambda trial: (-trial.reward, trial.number)):
        by_widths.setdefault(trial.widths, trial)
    return list(by_widths.values())[:count]


def search_remarks(result: SearchResult) -> list[str]:
    """Return notes on the table, and the next command."""
    fit = "fitted in sequence" if result.reconstruct == "kernel" else "fitted alike"
    lines = [
        f"{metric_of(result).title} after reconstruction, without any training; for the test images {fit}"
    ]
    if result.seconds_per_trial is not None:
        lines.append(f"{len(result.trials)} policies, {result.seconds_per_trial:.2f} s each (median)")
    lines += result.notes
    if result.measured is not None:
        measured = result.measured
        lines.append(
            f"measured end to end: {measured.pruned_ms:.4g} ms, baseline {measured.baseline_ms:.4g} ms, "
            f"speedup {measured.speedup[0]:.3f}x"
        )
        if not isinstance(measured.boards, UnsetType):
            lines += [
                f"on {board.host}: {board.pruned_ms:.4g} ms, baseline {board.baseline_ms:.4g} ms, "
                f"speedup {board.speedup[0]:.3f}x"
                for board in measured.boards
            ]
        if not isinstance(energy := measured.energy, UnsetType):
            lines.append(
                f"energy of an inference: {energy.pruned_mj:.4g} mJ, baseline {energy.baseline_mj:.4g} mJ, "
                f"{energy.ratio[0]:.3f}x less"
            )
    return [*lines, f"fine-tune it with: {result.next}"]


def _scored(metric: Metric, reward: float | None, tested: float | None) -> list[str]:
    """Return a reward and a value on test images in the metric's unit."""
    values = (None if reward is None else metric.worth(reward), tested)
    return ["-" if value is None else f"{metric.shown(value):.2f}" for value in values]
