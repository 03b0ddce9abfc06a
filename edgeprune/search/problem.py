"""All that stays the same during a search: the network, its groups, the budget, how a policy is judged."""

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
from edgeprune.resources import LATENCY
from edgeprune.search import pictures
from edgeprune.search.clusters import Dendrogram
from edgeprune.search.evaluate import Evaluator
from edgeprune.search.folder import Folder
from edgeprune.search.options import STUDIED, SearchOptions
from edgeprune.search.plain import by_sensitivity, probed, probes
from edgeprune.search.result import COPIED, SECONDS, STAGE, WIDTHS, best_of, gathered
from edgeprune.search.sampler import PROBE, RATIOS, PolicySampler, finished
from edgeprune.search.strategy import Stage, Strategy
from edgeprune.search.variables import Floats, Variables
from edgeprune.search.wall import Wall
from edgeprune.train_prune.budgets import make_budget
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.pipeline import stored_options
from edgeprune.training import Progress

NEAR_BY, STRAY = 20, 0.02  # tries for a policy that is new, each straying further by so much
SCORE_IMAGES = 640  # training images for a criterion that looks at data


def variables_of(
    graph: Graph, scores: Any, options: SearchOptions, training: TrainPruneOptions, budget: Budget
) -> Variables:
    return Variables.of(graph, scores, share=options.lowest, floor=training.floor, steps=budget.steps(graph))


def wall_of(variables: Variables, budget: Budget, options: SearchOptions) -> Wall:
    by_widths = budget.by_widths(variables.graph)

    def on(cost: Any) -> Any:
        return lambda widths: float(cost(variables.everywhere(widths)))

    return Wall(
        {kind: on(cost) for kind, cost in by_widths.items()},
        budget.goals,
        variables.lowest,
        variables.sizes,
        variables.steps,
        options.wall,
    )


@dataclass
class Problem:
    """All that stays the same during a search."""

    folder: Folder
    options: SearchOptions
    training: TrainPruneOptions
    budget: Budget
    variables: Variables
    wall: Wall
    dendrogram: Dendrogram
    evaluator: Evaluator
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Folder, options: SearchOptions, progress: Progress) -> "Problem":
        """From the folder's baseline and data."""
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
        wall = wall_of(variables, budget, options)
        wall.check()
        dendrogram = Dendrogram.of(variables, options.distance)
        return cls(folder, options, training, budget, variables, wall, dendrogram, evaluator)

    @property
    def trials(self) -> int:
        """How many evaluations this search takes."""
        if self.options.sampler == "sensitivity":
            return len(probes(len(self.variables))) + 1
        return 1 if self.options.sampler == "uniform" else self.options.trials

    @property
    def sampler(self) -> PolicySampler | None:
        """Of the next policy; None where there is nothing to learn."""
        if self.options.sampler not in STUDIED:
            return None
        return PolicySampler(Strategy(self.options, self.dendrogram), self.options.sampler, self.options.seed)

    @property
    def study_name(self) -> str:
        """In a storage of many."""
        training = self.training
        return f"{training.model}-{Path(training.data).name}-{training.target}"

    @property
    def identity(self) -> dict[str, Any]:
        """What makes this search what it is."""
        asked = asdict(self.options)
        own = {name: value for name, value in asked.items() if name not in ("training", "source", "study")}
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
        known = {tuple(one.user_attrs[WIDTHS]): one for one in reversed(finished(trial.study))}
        widths, stage = self._asked(trial, known)
        trial.set_user_attr(STAGE, stage)
        trial.set_user_attr(PROBE, stage == PROBE)
        trial.set_user_attr(WIDTHS, widths.tolist())
        trial.set_user_attr(RATIOS, self.variables.ratios(widths).tolist())
        same = known.get(tuple(widths.tolist()))
        if same is not None:
            trial.set_user_attr(COPIED, same.number)
            trial.set_user_attr(SECONDS, 0.0)
            return float(same.value or 0.0)
        reward, seconds = self.evaluator.reward(self.variables.plan(widths))
        trial.set_user_attr(SECONDS, seconds)
        return reward

    def _asked(self, trial: optuna.Trial, known: Container[tuple[int, ...]]) -> tuple[Ints, str]:
        """The widths of a trial, and the name of its stage; ``known`` were evaluated before."""
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
        return self._new(trial.number, stage, np.array(values), known), stage.name

    def _new(self, number: int, stage: Stage, values: Floats, known: Container[tuple[int, ...]]) -> Ints:
        """The policy that was asked for, or one near to it where that was evaluated before.

        Many requests come to one policy on the budget; evaluating it again would teach the model nothing, and
        it would ask for it again.
        """
        draw = np.random.default_rng([self.options.seed, number])
        for tries in range(NEAR_BY + 1):
            moved = values + draw.normal(0, STRAY * tries, len(values))
            widths = self.wall.project(stage.expand(np.clip(moved, stage.low, stage.high)))
            if tuple(widths.tolist()) not in known:
                break
        return widths

    def _sensitivity(self, trial: optuna.Trial) -> tuple[Ints, str]:
        """The first probe that nobody has made; the greedy policy once all are."""
        every = probes(len(self.variables))
        made: dict[tuple[int, ...], float] = {}
        for one in trial.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)):
            made[tuple(one.user_attrs[WIDTHS])] = float(one.value or 0.0)
        for probe in every:
            widths = probed(self.wall, probe)
            if tuple(widths.tolist()) not in made:
                return widths, PROBE
        whole = self.evaluator.reward(self.variables.plan(self.variables.sizes))[0]
        rewards = [made[tuple(probed(self.wall, probe).tolist())] for probe in every]
        return by_sensitivity(self.wall, whole, rewards), "sensitivity"

    @property
    def uniform(self) -> Ints:
        """The same share of every group, on the budget."""
        return self.wall.project(np.ones(len(self.variables)))

    # --- results ---------------------------------------------------------------------------------------

    def keep_plan(self, study: optuna.Study) -> None:
        """Write the best policy so far, where it is a new one."""
        best = best_of(study)
        if best is not None:
            plan = self.variables.plan(np.asarray(best.user_attrs[WIDTHS]))
            write_json(self.folder.plan, plan.to_dict(self.variables.graph))

    def concluded(self, study: optuna.Study, progress: Progress) -> dict[str, Any]:
        """Look at the test images, measure the best plan where a time was asked for, draw, and write."""
        best = best_of(study)
        if best is None:
            raise SearchError("no policy could be evaluated: see the messages above")
        self.keep_plan(study)
        progress(0, 1, "looking at the test images")
        widths = np.asarray(best.user_attrs[WIDTHS])
        known = {
            **self._settings(),
            **self._way(),
            **self._references(),
            "best_test": self.evaluator.tested(self.evaluator.finally_pruned(widths)),
        }
        measured = self._measured(widths, progress)
        known |= {"measured": measured, "notes": [*self.notes, *self.budget.remarks()]}
        result = gathered(study, self.wall, known)
        result["pictures"], result["pictures_reason"] = pictures.draw(result, self.folder)
        write_json(self.folder.result, result)
        return result

    def _settings(self) -> dict[str, Any]:
        """What was searched, without paths of this machine but for the plan's."""
        goals = {
            kind: goal / self.wall.costs[kind](self.wall.sizes) for kind, goal in self.wall.goals.items()
        }
        weights = shlex.quote(str(self.training.weights or self.folder.baseline / "baseline.safetensors"))
        if self.training.weights and self.training.weights_key:
            weights += f" --weights-key {shlex.quote(self.training.weights_key)}"
        weights += "".join(f" --opaque {shlex.quote(name)}" for name in self.training.opaque or ())
        command = (
            f"edgeprune train-prune --model {self.training.model} --data {shlex.quote(self.training.data)}"
        )
        how = f"--plan {self.folder.plan} --reconstruct sequential"
        return {
            "source": Path(self.options.source).name,
            "model": self.training.model,
            "data": self.evaluator.data.name,
            "target": ",".join(map(str, parse_targets(self.training.target))),
            "target_fractions": goals,
            "precision": self.training.precision,
            "images": self.evaluator.judged_on,
            "plan": self.folder.plan.name,
            "next": f"{command} --weights {weights} {how}",
        }

    def _way(self) -> dict[str, Any]:
        """How it was searched; what is of clusters is null without them."""
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
        """The unpruned model, and uniform ratios."""
        whole, uniform, by = self.variables.sizes, self.uniform, self.evaluator
        unpruned = by.unpruned
        every = {kind: cost(uniform) / cost(whole) for kind, cost in self.wall.costs.items()}
        return {
            "baseline": {"reward": by.judged(unpruned), "test": by.tested(unpruned)},
            "uniform": {
                "reward": by.reward(self.variables.plan(uniform))[0],
                "test": by.tested(by.finally_pruned(uniform)),
                "widths": uniform.tolist(),
                "fractions": every,
            },
        }

    def _measured(self, widths: Ints, progress: Progress) -> dict[str, Any] | None:
        """The best plan on the device; None where no time was asked for."""
        solver = self.budget.solver
        if not isinstance(solver, TimeSolver) or solver.measure is None:
            return None
        progress(0, 1, "measuring the best model whole")
        measured = solver.measure(self.variables.graph, self.variables.plan(widths))
        goal_ms = self.wall.goals.get(LATENCY)
        if goal_ms is not None:
            ratio = measured.share / (goal_ms / self.wall.costs[LATENCY](self.wall.sizes))
            if ratio > 1.03:
                self.notes.append(
                    f"measured whole, the best policy takes {100 * (ratio - 1):.1f} % more time than asked: "
                    "the table is off by that; ask for so much less"
                )
        return measured.to_dict()
