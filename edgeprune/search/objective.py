"""The objective of a study: which policy a trial evaluates, and its reward."""

from collections.abc import Container
from dataclasses import dataclass

import numpy as np
import optuna

from edgeprune.graph.classes import Ints
from edgeprune.search.baselines import by_sensitivity, probed, probes
from edgeprune.search.context import SearchContext
from edgeprune.search.result import COPIED, SECONDS, STAGE, WIDTHS
from edgeprune.search.sampler import PROBE, RATIOS, PolicySampler, finished
from edgeprune.search.strategy import SearchStage
from edgeprune.search.variables import Floats

NEAR_BY, STRAY = 20, 0.02  # tries to find a new policy, and by how much more each moves away


@dataclass(frozen=True)
class Objective:
    """Evaluates trials of a search."""

    context: SearchContext

    def __call__(self, trial: optuna.Trial) -> float:
        """Bring the next policy onto the budget, and evaluate it unless it was evaluated before."""
        evaluated = {tuple(past.user_attrs[WIDTHS]): past for past in reversed(finished(trial.study))}
        widths, stage = self._propose(trial, evaluated)
        trial.set_user_attr(STAGE, stage)
        trial.set_user_attr(PROBE, stage == PROBE)
        trial.set_user_attr(WIDTHS, widths.tolist())
        trial.set_user_attr(RATIOS, self.context.variables.ratios(widths).tolist())
        same = evaluated.get(tuple(widths.tolist()))
        if same is not None:
            trial.set_user_attr(COPIED, same.number)
            trial.set_user_attr(SECONDS, 0.0)
            return float(same.value or 0.0)
        reward, seconds = self.context.evaluator.reward(self.context.variables.plan(widths))
        trial.set_user_attr(SECONDS, seconds)
        return reward

    def _propose(self, trial: optuna.Trial, evaluated: Container[tuple[int, ...]]) -> tuple[Ints, str]:
        """Return the widths of a trial and the name of its stage, given the widths that were evaluated before."""
        kind = self.context.options.sampler
        if kind == "uniform":
            return self.context.uniform, kind
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
        draw = np.random.default_rng([self.context.options.seed, number])
        for tries in range(NEAR_BY + 1):
            moved = values + draw.normal(0, STRAY * tries, len(values))
            widths = self.context.projection.project(stage.expand(np.clip(moved, stage.low, stage.high)))
            if tuple(widths.tolist()) not in evaluated:
                break
        return widths

    def _sensitivity(self, trial: optuna.Trial) -> tuple[Ints, str]:
        """Return the first probe that no worker has evaluated; the greedy policy after the last probe."""
        every = probes(len(self.context.variables))
        rewards_by_widths: dict[tuple[int, ...], float] = {}
        for past in trial.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)):
            rewards_by_widths[tuple(past.user_attrs[WIDTHS])] = float(past.value or 0.0)
        for probe in every:
            widths = probed(self.context.projection, probe)
            if tuple(widths.tolist()) not in rewards_by_widths:
                return widths, PROBE
        unpruned_reward = self.context.evaluator.reward(
            self.context.variables.plan(self.context.variables.sizes)
        )[0]
        rewards = [
            rewards_by_widths[tuple(probed(self.context.projection, probe).tolist())] for probe in every
        ]
        return by_sensitivity(self.context.projection, unpruned_reward, rewards), "sensitivity"
