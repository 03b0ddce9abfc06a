"""The result of a search: its trials, the best policy, and the measurement of that policy."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from edgeprune_target.fingerprint import cpu_model
from optuna.trial import FrozenTrial

from edgeprune.reporting.rows import Table
from edgeprune.search.projection import BudgetProjection
from edgeprune.search.sampler import RATIOS, finished
from edgeprune.tasks import Metric, metric_of

SCHEMA = 1
WIDTHS, STAGE, SECONDS, COPIED = "widths", "stage", "seconds", "copied"  # attributes of a trial
SHOWN = 5  # number of policies in the table


def best_of(study: optuna.Study) -> FrozenTrial | None:
    """Return the evaluated policy with the highest reward, the earliest of equals."""
    return max(finished(study), key=lambda trial: (trial.value or 0.0, -trial.number), default=None)


def search_result(study: optuna.Study, projection: BudgetProjection, facts: dict[str, Any]) -> dict[str, Any]:
    """Return the results so far, in JSON types.

    ``reward`` is the worth of the task's ``metric``, negative where lower is better, on images held out of the
    training split, after reconstruction and recalibration, without training.

    Args:
        study: with the trials.
        projection: onto the budget; its costs give what remains at a trial's widths.
        facts: further entries of the result: the options, the groups, the accuracies of the unpruned model
            and of uniform ratios, and the final evaluation on the test images.
    """
    done, best = finished(study), best_of(study)
    seconds = [trial.user_attrs[SECONDS] for trial in done if COPIED not in trial.user_attrs]
    return {
        "schema": SCHEMA,
        **facts,
        "seconds_per_trial": float(np.median(seconds)) if seconds else None,
        "best": None if best is None else _trial_record(best, projection),
        "trials": [_trial_record(trial, projection) for trial in done],
        "versions": {name: version(name) for name in ("edgeprune", "torch", "optuna")},
        "machine": {"cpu": cpu_model(Path("/"))},
    }


def _trial_record(trial: FrozenTrial, projection: BudgetProjection) -> dict[str, Any]:
    widths = np.asarray(trial.user_attrs[WIDTHS], dtype=np.int64)
    return {
        "number": trial.number,
        "stage": trial.user_attrs[STAGE],
        "reward": trial.value,
        "widths": widths.tolist(),
        "ratios": trial.user_attrs[RATIOS],
        "fractions": {kind: cost(widths) / cost(projection.sizes) for kind, cost in projection.costs.items()},
        "seconds": trial.user_attrs[SECONDS],
        "copied_from": trial.user_attrs.get(COPIED),
    }


def search_table(result: dict[str, Any]) -> Table:
    """Tabulate the unpruned model, uniform ratios, and the best policies."""
    kinds, metric = list(result["target_fractions"]), metric_of(result)
    scored = [(f"{where} {metric.unit}".rstrip(), "right") for where in ("held out", "test")]
    heads = [("policy", "left"), ("trial", "right"), *scored]
    heads += [(f"{kind} %", "right") for kind in kinds]
    rows = [
        ["unpruned", "", *_scored(metric, result["baseline"]["reward"], result["baseline"]["test"])]
        + ["100.0"] * len(kinds)
    ]
    uniform = result["uniform"]
    if uniform is not None:
        rows.append(
            ["uniform", "", *_scored(metric, uniform["reward"], uniform["test"])]
            + [f"{100 * uniform['fractions'][kind]:.1f}" for kind in kinds]
        )
    for place, trial in enumerate(best_trials(result, SHOWN)):
        tested = result["best_test"] if place == 0 else None
        rows.append(
            [
                "best" if place == 0 else f"{place + 1}.",
                str(trial["number"]),
                *_scored(metric, trial["reward"], tested),
            ]
            + [f"{100 * trial['fractions'][kind]:.1f}" for kind in kinds]
        )
    return heads, rows


def best_trials(result: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Return the best trials with different widths, the best first."""
    by_widths: dict[tuple[int, ...], dict[str, Any]] = {}
    for trial in sorted(result["trials"], key=lambda trial: (-trial["reward"], trial["number"])):
        by_widths.setdefault(tuple(trial["widths"]), trial)
    return list(by_widths.values())[:count]


def search_remarks(result: dict[str, Any]) -> list[str]:
    """Return notes on the table, and the next command."""
    fit = "fitted in sequence" if result["reconstruct"] == "kernel" else "fitted alike"
    lines = [
        f"{metric_of(result).title} after reconstruction, without any training; for the test images {fit}"
    ]
    if result["seconds_per_trial"] is not None:
        lines.append(f"{len(result['trials'])} policies, {result['seconds_per_trial']:.2f} s each (median)")
    lines += result["notes"]
    if result["measured"] is not None:
        measured = result["measured"]
        lines.append(
            f"measured end to end: {measured['pruned_ms']:.4g} ms, baseline {measured['baseline_ms']:.4g} ms, "
            f"speedup {measured['speedup'][0]:.3f}x"
        )
    if result["plan"] is not None:
        lines.append(f"fine-tune it with: {result['next']}")
    return lines


def _scored(metric: Metric, reward: float | None, tested: float | None) -> list[str]:
    """Return a reward and a value on test images in the metric's unit."""
    values = (None if reward is None else metric.worth(reward), tested)
    return ["-" if value is None else f"{metric.shown(value):.2f}" for value in values]
