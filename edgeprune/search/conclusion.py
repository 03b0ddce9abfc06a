"""The end of a search: the best policy on the test images and on the device, the record, the plots, the plan."""

import shlex
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from edgeprune_target.fingerprint import cpu_model
from msgspec import structs

from edgeprune.budget import parse_targets
from edgeprune.errors import SearchError
from edgeprune.graph.classes import Ints
from edgeprune.latency.boards import measure_plan
from edgeprune.latency.device_goals import DeviceGoals
from edgeprune.processes.progress import ProgressCallback
from edgeprune.records.search import Rewarded, SearchResult, UniformPolicy
from edgeprune.records.times import PlanTimes
from edgeprune.resources import ENERGY, LATENCY
from edgeprune.search import pictures
from edgeprune.search.context import SearchContext
from edgeprune.search.folder import SearchFolder
from edgeprune.search.result import WIDTHS, best_of, fractions_of, seconds_per_trial, trial_record
from edgeprune.search.sampler import finished
from edgeprune.train_prune.options import TrainPruneOptions

TAKEN = {LATENCY: "time", ENERGY: "energy"}
OVER = 1.03  # of the latency target: a plan that is measured slower gets a note


def write_best_plan(context: SearchContext, study: optuna.Study) -> None:
    """Write the plan of the best policy so far."""
    best = best_of(study)
    if best is not None:
        plan = context.variables.plan(np.asarray(best.user_attrs[WIDTHS]))
        plan.record(context.variables.graph).write(context.folder.plan)


def conclude(context: SearchContext, study: optuna.Study, progress: ProgressCallback) -> SearchResult:
    """Evaluate on the test images, measure the best plan for a latency target, draw the plots, write the result.

    Args:
        context: of the search.
        study: with the finished trials.
        progress: called with (done, total, text).

    Raises:
        SearchError: no policy could be evaluated.
    """
    best = best_of(study)
    if best is None:
        raise SearchError("no policy could be evaluated: see the messages above")
    write_best_plan(context, study)
    progress(0, 1, "evaluating on the test images")
    conclusion = _Conclusion(context, np.asarray(best.user_attrs[WIDTHS]))
    trials = finished(study)
    result = SearchResult(
        **conclusion.subject(),
        **conclusion.strategy(),
        baseline=conclusion.baseline(),
        uniform=conclusion.uniform(),
        best_test=conclusion.best_test(),
        measured=conclusion.measured(progress),
        notes=(*conclusion.notes, *context.budget.remarks()),
        seconds_per_trial=seconds_per_trial(trials),
        best=trial_record(best, context.projection),
        trials=tuple(trial_record(trial, context.projection) for trial in trials),
        versions={name: version(name) for name in ("edgeprune", "torch", "optuna")},
        machine={"cpu": cpu_model(Path("/"))},
    )
    drawn, reason = pictures.draw_search(result, context.folder)
    result = structs.replace(result, pictures=tuple(drawn), pictures_reason=reason)
    result.write(context.folder.result)
    return result


def next_command(training: TrainPruneOptions, folder: SearchFolder) -> str:
    """Return the command that trains the plan of a search.

    Args:
        training: options of the baseline's run.
        folder: of the search.
    """
    weights = shlex.quote(str(training.weights or folder.baseline / "baseline.safetensors"))
    if training.weights and training.weights_key:
        weights += f" --weights-key {shlex.quote(training.weights_key)}"
    weights += "".join(f" --opaque {shlex.quote(name)}" for name in training.opaque or ())
    command = f"edgeprune train-prune --model {training.model} --data {shlex.quote(training.data)}"
    return f"{command} --weights {weights} --plan {folder.plan} --reconstruct sequential"


@dataclass
class _Conclusion:
    """The parts of a result that are not of the study.

    Attributes:
        context: of the search.
        widths: of the best policy.
        notes: that its measurement leaves.
    """

    context: SearchContext
    widths: Ints
    notes: tuple[str, ...] = ()

    def subject(self) -> dict[str, Any]:
        """Return what was searched, without paths of this machine other than the plan's."""
        context, training = self.context, self.context.training
        goals = {
            kind: goal / context.projection.costs[kind](context.projection.sizes)
            for kind, goal in context.projection.goals.items()
        }
        return {
            "source": Path(context.options.source).name,
            "model": training.model,
            "data": context.evaluator.data.name,
            "target": ",".join(map(str, parse_targets(training.target))),
            "target_fractions": goals,
            "precision": training.precision,
            "images": context.evaluator.held_out_images,
            "metric": context.evaluator.task.metric.record(),
            "plan": context.folder.plan.name,
            "next": next_command(training, context.folder),
        }

    def strategy(self) -> dict[str, Any]:
        """Return how it was searched; settings of clusters are null without clusters."""
        context, options = self.context, self.context.options
        clustered = {name: getattr(options, name) for name in ("clusters", "rollback", "distance", "bridge")}
        return {
            **{
                name: getattr(options, name)
                for name in ("sampler", "wall", "reconstruct", "criterion", "seed")
            },
            **(clustered if options.clustered else dict.fromkeys(clustered)),
            "trials_asked": context.trials,
            "groups": tuple(context.variables.names),
            "sizes": tuple(context.variables.sizes.tolist()),
            "links": tuple(map(tuple, context.dendrogram.links.tolist())),
        }

    def baseline(self) -> Rewarded:
        """Return what the unpruned model reaches."""
        evaluator = self.context.evaluator
        unpruned = evaluator.unpruned
        return Rewarded(reward=evaluator.worth(unpruned), test=evaluator.tested(unpruned))

    def uniform(self) -> UniformPolicy:
        """Return what uniform ratios reach."""
        context, widths, evaluator = self.context, self.context.uniform, self.context.evaluator
        return UniformPolicy(
            reward=evaluator.reward(context.variables.plan(widths))[0],
            test=evaluator.tested(evaluator.finally_pruned(widths)),
            widths=tuple(widths.tolist()),
            fractions=fractions_of(context.projection, widths),
        )

    def best_test(self) -> float:
        """Return the metric of the best policy on the test images."""
        evaluator = self.context.evaluator
        return evaluator.tested(evaluator.finally_pruned(self.widths))

    def measured(self, progress: ProgressCallback) -> PlanTimes | None:
        """Measure the best plan on the device; None without a latency target."""
        context, graph = self.context, self.context.variables.graph
        progress(0, 1, "measuring the best model end to end")
        outcome = measure_plan(context.budget, graph, context.variables.plan(self.widths))
        if outcome is None:
            return None
        measured, record = outcome
        for kind, ratio in DeviceGoals(context.budget).ratios(measured).items():
            if ratio > OVER:
                self.notes += (
                    f"measured end to end, the best policy takes {100 * (ratio - 1):.1f} % more {TAKEN[kind]} than "
                    f"the target: the {kind} table is off by that much; lower the target accordingly",
                )
        return record
