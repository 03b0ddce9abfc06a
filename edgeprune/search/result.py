"""What a search found: trials, the best policy, and what it was measured at."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from edgeprune_target.fingerprint import cpu_model
from optuna.trial import FrozenTrial

from edgeprune.reporting.rows import Table
from edgeprune.search.sampler import RATIOS, finished
from edgeprune.search.wall import Wall

SCHEMA = 1
WIDTHS, STAGE, SECONDS, COPIED = "widths", "stage", "seconds", "copied"  # what a trial carries
SHOWN = 5  # best policies


def best_of(study: optuna.Study) -> FrozenTrial | None:
    """The evaluated policy with the highest reward, the earliest of equals."""
    return max(finished(study), key=lambda one: (one.value or 0.0, -one.number), default=None)


def gathered(study: optuna.Study, wall: Wall, known: dict[str, Any]) -> dict[str, Any]:
    """Everything that is known so far, JSON-able.

    ``reward`` is the accuracy on images held out of the training split, after reconstruction and
    recalibration, without training. ``known`` is what the search knows besides: what was asked, the groups,
    accuracies of the unpruned model and of uniform ratios, what was looked at on the test images.
    """
    done, best = finished(study), best_of(study)
    taken = [one.user_attrs[SECONDS] for one in done if COPIED not in one.user_attrs]
    return {
        "schema": SCHEMA,
        **known,
        "seconds_per_trial": float(np.median(taken)) if taken else None,
        "best": None if best is None else _told(best, wall),
        "trials": [_told(one, wall) for one in done],
        "versions": {name: version(name) for name in ("edgeprune", "torch", "optuna")},
        "machine": {"cpu": cpu_model(Path("/"))},
    }


def _told(trial: FrozenTrial, wall: Wall) -> dict[str, Any]:
    widths = np.asarray(trial.user_attrs[WIDTHS], dtype=np.int64)
    return {
        "number": trial.number,
        "stage": trial.user_attrs[STAGE],
        "reward": trial.value,
        "widths": widths.tolist(),
        "ratios": trial.user_attrs[RATIOS],
        "fractions": {kind: cost(widths) / cost(wall.sizes) for kind, cost in wall.costs.items()},
        "seconds": trial.user_attrs[SECONDS],
        "copied_from": trial.user_attrs.get(COPIED),
    }


def table(result: dict[str, Any]) -> Table:
    """The unpruned model, uniform ratios, and the best policies."""
    kinds = list(result["target_fractions"])
    heads = [("policy", "left"), ("trial", "right"), ("held out %", "right"), ("test %", "right")]
    heads += [(f"{kind} %", "right") for kind in kinds]
    rows = [
        ["unpruned", "", _percent(result["baseline"]["reward"]), _percent(result["baseline"]["test"])]
        + ["100.0"] * len(kinds)
    ]
    uniform = result["uniform"]
    if uniform is not None:
        rows.append(
            ["uniform", "", _percent(uniform["reward"]), _percent(uniform["test"])]
            + [f"{100 * uniform['fractions'][kind]:.1f}" for kind in kinds]
        )
    for place, one in enumerate(best_trials(result, SHOWN)):
        tested = _percent(result["best_test"]) if place == 0 else "-"
        rows.append(
            ["best" if place == 0 else f"{place + 1}.", str(one["number"]), _percent(one["reward"]), tested]
            + [f"{100 * one['fractions'][kind]:.1f}" for kind in kinds]
        )
    return heads, rows


def best_trials(result: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """The best different policies, the best first."""
    found: dict[tuple[int, ...], dict[str, Any]] = {}
    for one in sorted(result["trials"], key=lambda one: (-one["reward"], one["number"])):
        found.setdefault(tuple(one["widths"]), one)
    return list(found.values())[:count]


def remarks(result: dict[str, Any]) -> list[str]:
    """What a reader should know, and what to do next."""
    way = "fitted in sequence" if result["reconstruct"] == "kernel" else "fitted alike"
    lines = [f"accuracies after reconstruction, without any training; for the test images {way}"]
    if result["seconds_per_trial"] is not None:
        lines.append(f"{len(result['trials'])} policies, {result['seconds_per_trial']:.2f} s each (median)")
    lines += result["notes"]
    if result["measured"] is not None:
        one = result["measured"]
        lines.append(
            f"measured whole: {one['pruned_ms']:.4g} ms of {one['baseline_ms']:.4g} ms, "
            f"{one['speedup'][0]:.3f} times as fast"
        )
    if result["plan"] is not None:
        lines.append(f"fine-tune it with: {result['next']}")
    return lines


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
