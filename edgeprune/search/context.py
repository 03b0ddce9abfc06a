"""What stays constant during a search: the network, its groups, the budget, and the evaluation of policies."""

import shlex
from collections.abc import Container
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch

from edgeprune import tasks
from edgeprune.budget import Budget, parse_targets
from edgeprune.errors import SearchError
from edgeprune.files.reading import sha256
from edgeprune.files.writing import write_json
from edgeprune.graph.classes import Graph, Ints, build_graph
from edgeprune.importance import score
from edgeprune.latency.device import TimeSolver
from edgeprune.processes.progress import ProgressCallback
from edgeprune.resources import LATENCY
from edgeprune.search import pictures
from edgeprune.search.baselines import by_sensitivity, probed, probes
from edgeprune.search.clusters import Dendrogram
from edgeprune.search.evaluate import Evaluator
from edgeprune.search.folder import SearchFolder
from edgeprune.search.options import STUDIED, SearchOptions
from edgeprune.search.projection import BudgetProjection
from edgeprune.search.result import COPIED, SECONDS, STAGE, WIDTHS, best_of, search_result
from edgeprune.search.sampler import PROBE, RATIOS, PolicySampler, finished
from edgeprune.search.strategy import SearchStage, Strategy
from edgeprune.search.variables import Floats, Variables
from edgeprune.train_prune.budgets import make_budget
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.pipeline import stored_options

NEAR_BY, STRAY = 20, 0.02  # tries to find a new policy, and by how much more each moves away
SCORE_IMAGES = 640  # training images for a criterion that needs data


def variables_of(
    graph: Graph, scores: Any, options: SearchOptions, training: TrainPruneOptions, budget: Budget
) -> Variables:
    """Return the groups that a search may prune.

    Args:
        graph: of the unpruned model.
        scores: (classes,), higher is more important.
        options: of the search.
        training: options of the baseline's run.
        budget: of the search; it has the steps of the widths.
    """
    return Variables.of(graph, scores, share=options.lowest, floor=training.floor, steps=budget.steps(graph))


def projection_of(variables: Variables, budget: Budget, options: SearchOptions) -> BudgetProjection:
    """Return the projection onto a budget.

    Args:
        variables: the groups that may be pruned.
        budget: of the search.
        options: of the search, with the mode of the projection.
    """
    by_widths = budget.by_widths(variables.graph)

    def of_searched(cost: Any) -> Any:
        return lambda widths: float(cost(variables.everywhere(widths)))

    return BudgetProjection(
        {kind: of_searched(cost) for kind, cost in by_widths.items()},
        budget.goals,
        variables.lowest,
        variables.sizes,
        variables.steps,
        options.wall,
    )


@dataclass
class SearchContext:
    """What stays constant during a search."""

    folder: SearchFolder
    options: SearchOptions
    training: TrainPruneOptions
    budget: Budget
    variables: Variables
    projection: BudgetProjection
    dendrogram: Dendrogram
    evaluator: Evaluator
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, folder: SearchFolder, options: SearchOptions, progress: ProgressCallback) -> "SearchContext":
        """Prepare a search from the folder's baseline and data.

        Args:
            folder: with the trained baseline.
            options: of the search.
            progress: called with (done, total, text).
        """
        run = folder.run()
        training, data = stored_options(run), run.data()
        model = run.load("baseline")
        graph = build_graph(model, torch.zeros(1, *data.shape), opaque=training.opaque or ())
        progress(0, 1, f"scoring channels by {options.criterion}")
        scores = score(
            graph,
            options.criterion,
            batches=lambda: data.batches("train", batch_size=64, limit=SCORE_IMAGES),
        )
        budget = make_budget(model, graph, training, progress=progress)
        variables = variables_of(graph, scores, options, training, budget)
        progress(0, 1, "collecting activations")
        evaluator = Evaluator(
            variables,
            data,
            images=options.images,
            calibration=options.calibration,
            final=options.final_calibration,
            reconstruct=options.reconstruct,
            device=training.device,
            precision=training.precision,
            task=tasks.get(training.task),
        )
        projection = projection_of(variables, budget, options)
        projection.check()
        dendrogram = Dendrogram.of(variables, options.distance)
        return cls(folder, options, training, budget, variables, projection, dendrogram, evaluator)

    @property
    def trials(self) -> int:
        """Number of evaluations that this search takes."""
        if self.options.sampler == "sensitivity":
            return len(probes(len(self.variables))) + 1
        return 1 if self.options.sampler == "uniform" else self.options.trials

    @property
    def sampler(self) -> PolicySampler | None:
        """The sampler of policies; None for strategies that do not sample."""
        if self.options.sampler not in STUDIED:
            return None
        return PolicySampler(Strategy(self.options, self.dendrogram), self.options.sampler, self.options.seed)

    @property
    def study_name(self) -> str:
        """The study's name in a shared storage."""
        training = self.training
        return f"{training.model}-{Path(training.data).name}-{training.target}"

    @property
    def identity(self) -> dict[str, Any]:
        """Settings that identify this search."""
        options = asdict(self.options)
        own = {name: value for name, value in options.items() if name not in ("training", "source", "study")}
        return {
            "model": f"{self.training.model} ({self.variables.graph.fingerprint})",
            "weights": sha256(self.folder.baseline / "baseline.safetensors")[:16],
            "data": self.evaluator.data.spec()["fingerprint"],
            "target": self.training.target,
            **own,
        }

    # --- one trial -------------------------------------------------------------------------------------

    def objective(self, trial: optuna.Trial) -> float:
        """Bring the next policy onto the budget, and evaluate it unless it was evaluated before."""
        evaluated = {tuple(past.user_attrs[WIDTHS]): past for past in reversed(finished(trial.study))}
        widths, stage = self._propose(trial, evaluated)
        trial.set_user_attr(STAGE, stage)
        trial.set_user_attr(PROBE, stage == PROBE)
        trial.set_user_attr(WIDTHS, widths.tolist())
        trial.set_user_attr(RATIOS, self.variables.ratios(widths).tolist())
        same = evaluated.get(tuple(widths.tolist()))
        if same is not None:
            trial.set_user_attr(COPIED, same.number)
            trial.set_user_attr(SECONDS, 0.0)
            return float(same.value or 0.0)
        reward, seconds = self.evaluator.reward(self.variables.plan(widths))
        trial.set_user_attr(SECONDS, seconds)
        return reward

    def _propose(self, trial: optuna.Trial, evaluated: Container[tuple[int, ...]]) -> tuple[Ints, str]:
        """Return the widths of a trial and the name of its stage, given the widths that were evaluated before."""
        kind = self.options.sampler
        if kind == "uniform":
            return self.uniform, kind
        if kind == "sensitivity":
            return self._sensitivity(trial)
        sampler = trial.study.sampler
        assert isinstance(sampler, PolicySampler)
        stage = sampler.stage
        values = [
            trial.suggest_float(f"{stage.name}-{index}", low, high)
            for index, (low, high) in enumerate(zip(stage.low, stage.high, strict=True))
        ]
        return self._new(trial.number, stage, np.array(values), evaluated), stage.name

    def _new(
        self, number: int, stage: SearchStage, values: Floats, evaluated: Container[tuple[int, ...]]
    ) -> Ints:
        """Return the proposed policy's widths, or nearby ones if those were evaluated before.

        The projection maps many proposals to the same widths. Evaluating them again would add no information,
        and the sampler would propose them again.
        """
        draw = np.random.default_rng([self.options.seed, number])
        for tries in range(NEAR_BY + 1):
            moved = values + draw.normal(0, STRAY * tries, len(values))
            widths = self.projection.project(stage.expand(np.clip(moved, stage.low, stage.high)))
            if tuple(widths.tolist()) not in evaluated:
                break
        return widths

    def _sensitivity(self, trial: optuna.Trial) -> tuple[Ints, str]:
        """Return the first probe that no worker has evaluated; the greedy policy after the last probe."""
        every = probes(len(self.variables))
        rewards_by_widths: dict[tuple[int, ...], float] = {}
        for past in trial.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)):
            rewards_by_widths[tuple(past.user_attrs[WIDTHS])] = float(past.value or 0.0)
        for probe in every:
            widths = probed(self.projection, probe)
            if tuple(widths.tolist()) not in rewards_by_widths:
                return widths, PROBE
        unpruned_reward = self.evaluator.reward(self.variables.plan(self.variables.sizes))[0]
        rewards = [rewards_by_widths[tuple(probed(self.projection, probe).tolist())] for probe in every]
        return by_sensitivity(self.projection, unpruned_reward, rewards), "sensitivity"

    @property
    def uniform(self) -> Ints:
        """The same share of every group, on the budget."""
        return self.projection.project(np.ones(len(self.variables)))

    # --- results ---------------------------------------------------------------------------------------

    def keep_plan(self, study: optuna.Study) -> None:
        """Write the plan of the best policy so far."""
        best = best_of(study)
        if best is not None:
            plan = self.variables.plan(np.asarray(best.user_attrs[WIDTHS]))
            plan.record(self.variables.graph).write(self.folder.plan)

    def concluded(self, study: optuna.Study, progress: ProgressCallback) -> dict[str, Any]:
        """Evaluate on the test images, measure the best plan for a latency target, draw the plots, write the result."""
        best = best_of(study)
        if best is None:
            raise SearchError("no policy could be evaluated: see the messages above")
        self.keep_plan(study)
        progress(0, 1, "evaluating on the test images")
        widths = np.asarray(best.user_attrs[WIDTHS])
        facts = {
            **self._settings(),
            **self._strategy(),
            **self._references(),
            "best_test": self.evaluator.tested(self.evaluator.finally_pruned(widths)),
        }
        measured = self._measured(widths, progress)
        facts |= {"measured": measured, "notes": [*self.notes, *self.budget.remarks()]}
        result = search_result(study, self.projection, facts)
        result["pictures"], result["pictures_reason"] = pictures.draw_search(result, self.folder)
        write_json(self.folder.result, result)
        return result

    def _settings(self) -> dict[str, Any]:
        """Return what was searched, without paths of this machine other than the plan's."""
        goals = {
            kind: goal / self.projection.costs[kind](self.projection.sizes)
            for kind, goal in self.projection.goals.items()
        }
        weights = shlex.quote(str(self.training.weights or self.folder.baseline / "baseline.safetensors"))
        if self.training.weights and self.training.weights_key:
            weights += f" --weights-key {shlex.quote(self.training.weights_key)}"
        weights += "".join(f" --opaque {shlex.quote(name)}" for name in self.training.opaque or ())
        command = (
            f"edgeprune train-prune --model {self.training.model} --data {shlex.quote(self.training.data)}"
        )
        plan = f"--plan {self.folder.plan} --reconstruct sequential"
        return {
            "source": Path(self.options.source).name,
            "model": self.training.model,
            "data": self.evaluator.data.name,
            "target": ",".join(map(str, parse_targets(self.training.target))),
            "target_fractions": goals,
            "precision": self.training.precision,
            "images": self.evaluator.held_out_images,
            "metric": self.evaluator.task.metric.to_dict(),
            "plan": self.folder.plan.name,
            "next": f"{command} --weights {weights} {plan}",
        }

    def _strategy(self) -> dict[str, Any]:
        """Return how it was searched; settings of clusters are null without clusters."""
        options = self.options
        clustered = {name: getattr(options, name) for name in ("clusters", "rollback", "distance", "bridge")}
        return {
            **{
                name: getattr(options, name)
                for name in ("sampler", "wall", "reconstruct", "criterion", "seed")
            },
            **(clustered if options.clustered else dict.fromkeys(clustered)),
            "trials_asked": self.trials,
            "groups": self.variables.names,
            "sizes": self.variables.sizes.tolist(),
            "links": self.dendrogram.links.tolist(),
        }

    def _references(self) -> dict[str, Any]:
        """Return the results of the unpruned model and of uniform ratios."""
        sizes, uniform, evaluator = self.variables.sizes, self.uniform, self.evaluator
        unpruned = evaluator.unpruned
        fractions = {kind: cost(uniform) / cost(sizes) for kind, cost in self.projection.costs.items()}
        return {
            "baseline": {"reward": evaluator.worth(unpruned), "test": evaluator.tested(unpruned)},
            "uniform": {
                "reward": evaluator.reward(self.variables.plan(uniform))[0],
                "test": evaluator.tested(evaluator.finally_pruned(uniform)),
                "widths": uniform.tolist(),
                "fractions": fractions,
            },
        }

    def _measured(self, widths: Ints, progress: ProgressCallback) -> dict[str, Any] | None:
        """Measure the best plan on the device; None without a latency target."""
        solver = self.budget.solver
        if not isinstance(solver, TimeSolver) or solver.measure is None:
            return None
        progress(0, 1, "measuring the best model end to end")
        measured = solver.measure(self.variables.graph, self.variables.plan(widths))
        goal_ms = self.projection.goals.get(LATENCY)
        if goal_ms is not None:
            ratio = measured.share / (goal_ms / self.projection.costs[LATENCY](self.projection.sizes))
            if ratio > 1.03:
                self.notes.append(
                    f"measured end to end, the best policy takes {100 * (ratio - 1):.1f} % more time than the target: "
                    "the latency table is off by that much; lower the target accordingly"
                )
        return measured.to_dict()
