"""Which policy comes next: Optuna's samplers, asked about the variables of the stage a search stands in."""

import warnings
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import qmc

from edgeprune.search.strategy import DESIGN, Stage, Strategy

RATIOS, PROBE = "ratios", "probe"  # what a trial carries: the share each group kept; whether it was no policy


class PolicySampler(BaseSampler):
    """A Sobol design first, then Optuna's sampler on all that was evaluated, by the policies as realised.

    The study itself holds trials of several stages, with variables of their own; so that a model can learn
    from all of them, each is put into a study in memory by the variables of the stage that is asked for.

    Args:
        strategy: which variables there are.
        kind: "gp", "tpe" or "random".
        seed: together with a trial's number it gives what is drawn; workers need no other agreement.
        design: how many points come before the sampler.
    """

    def __init__(self, strategy: Strategy, kind: str, seed: int, design: int = DESIGN) -> None:
        self.strategy, self.kind, self.seed, self.design = strategy, kind, seed, design
        self.stage = strategy.first()

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:  # noqa: ARG002
        """Find out the stage that the finished trials have come to; it holds for this trial."""
        done = finished(study)
        self.stage = self.strategy.stage([one.value or 0.0 for one in done], [ratios_of(one) for one in done])

    def infer_relative_search_space(
        self,
        study: optuna.Study,  # noqa: ARG002
        trial: FrozenTrial,  # noqa: ARG002
    ) -> dict[str, BaseDistribution]:
        """The variables of the stage."""
        return dict(_space(self.stage))

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next policy's variables."""
        stage = self.stage
        low, high = np.array(stage.low), np.array(stage.high)
        history = self._history(study, stage)
        first = trial.number < self.design and stage.name == self.strategy.first().name
        if self.kind == "random" or first or not history:
            shares = (
                sobol(stage.variables, self.seed, trial.number)
                if first or self.kind != "random"
                else np.random.default_rng([self.seed, trial.number]).random(stage.variables)
            )
            return dict(zip(search_space, (low + shares * (high - low)).tolist(), strict=True))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = self._inner(trial.number)
            inner = optuna.create_study(direction="maximize", sampler=sampler)
            inner.add_trials(history)
            begun = inner.ask().number
            return sampler.sample_relative(inner, inner.get_trials(deepcopy=False)[begun], search_space)

    def sample_independent(self, *about: Any) -> Any:
        """Never asked: the space is known before each trial."""
        raise AssertionError(f"{about[2]} is no variable of this stage")

    def _inner(self, number: int) -> BaseSampler:
        seed = self.seed * 100_003 + number
        if self.kind == "gp":
            return GPSampler(seed=seed, n_startup_trials=0)
        return TPESampler(seed=seed, n_startup_trials=0, multivariate=True)

    def _history(self, study: optuna.Study, stage: Stage) -> list[FrozenTrial]:
        """What was evaluated, by this stage's variables.

        What other workers are at counts as middling, lest it be tried twice.
        """
        done = finished(study)
        going = [one for one in study.get_trials(False, (TrialState.RUNNING,)) if RATIOS in one.user_attrs]
        middling = float(np.median([one.value or 0.0 for one in done])) if done else 0.0
        known = [(one, one.value or 0.0) for one in done] + [(one, middling) for one in going]
        return [
            optuna.trial.create_trial(
                params=dict(zip(_names(stage), self._values(stage, one).tolist(), strict=True)),
                distributions=dict.fromkeys(_names(stage), FloatDistribution(0.0, 1.0)),
                value=value,
            )
            for one, value in known
        ]

    def _values(self, stage: Stage, trial: FrozenTrial) -> np.ndarray:
        """Of a policy in a stage's variables: a Gaussian process takes it from outside the box, too."""
        values = stage.reduce(ratios_of(trial))
        return values if self.kind == "gp" else np.clip(values, stage.low, stage.high)


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Evaluated policies, in the order of their numbers; probes of single groups are none."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [one for one in done if not one.user_attrs.get(PROBE)]


def sobol(variables: int, seed: int, number: int) -> np.ndarray:
    """A point of a scrambled Sobol sequence in [0, 1)."""
    made = qmc.Sobol(variables, scramble=True, seed=seed)
    return np.asarray(made.random_base2(int(number + 1).bit_length())[number])


def ratios_of(trial: FrozenTrial) -> np.ndarray:
    """The policy that was evaluated, as realised."""
    return np.asarray(trial.user_attrs[RATIOS], dtype=np.float64)


def _names(stage: Stage) -> list[str]:
    return [f"{stage.name}-{index}" for index in range(stage.variables)]


def _space(stage: Stage) -> dict[str, FloatDistribution]:
    bounds = zip(_names(stage), stage.low, stage.high, strict=True)
    return {name: FloatDistribution(low, high) for name, low, high in bounds}
