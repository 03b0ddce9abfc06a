"""The sampler of policies: Optuna's samplers on the variables of a search's current stage."""

import warnings
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import qmc

from edgeprune.search.strategy import DESIGN, SearchStage, Strategy

RATIOS, PROBE = (
    "ratios",
    "probe",
)  # attributes of a trial: the share each group kept; whether it probes a single group


class PolicySampler(BaseSampler):
    """Draws a Sobol design first, then uses Optuna's sampler on the policies as they were realised.

    The study holds trials of several stages, each with its own variables. To learn from all of them, the
    sampler converts them to the variables of the current stage, in a study in memory.

    Args:
        strategy: decides the variables.
        kind: "gp", "tpe" or "random".
        seed: with a trial's number it determines what is drawn, so workers need no other coordination.
        design: number of points before the sampler is used.
    """

    def __init__(self, strategy: Strategy, kind: str, seed: int, design: int = DESIGN) -> None:
        self.strategy, self.kind, self.seed, self.design = strategy, kind, seed, design
        self.stage = strategy.first()

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:  # noqa: ARG002
        """Derive the stage of this trial from the finished trials."""
        done = finished(study)
        rewards = [past.value or 0.0 for past in done]
        self.stage = self.strategy.stage(rewards, [ratios_of(past) for past in done])

    def infer_relative_search_space(
        self,
        study: optuna.Study,  # noqa: ARG002
        trial: FrozenTrial,  # noqa: ARG002
    ) -> dict[str, BaseDistribution]:
        """Return the variables of the stage."""
        return dict(_space(self.stage))

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw the next policy.

        Args:
            study: of the search.
            trial: the trial to draw for; only its number matters.
            search_space: variables of the stage.

        Returns:
            The value of each variable.
        """
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
            number = inner.ask().number
            return sampler.sample_relative(inner, inner.get_trials(deepcopy=False)[number], search_space)

    def sample_independent(self, *about: Any) -> Any:
        """Raise AssertionError: Optuna calls this only for variables outside the stage's space."""
        raise AssertionError(f"{about[2]} is not a variable of this stage")

    def _inner(self, number: int) -> BaseSampler:
        seed = self.seed * 100_003 + number
        if self.kind == "gp":
            return GPSampler(seed=seed, n_startup_trials=0)
        return TPESampler(seed=seed, n_startup_trials=0, multivariate=True)

    def _history(self, study: optuna.Study, stage: SearchStage) -> list[FrozenTrial]:
        """Return the evaluated trials in this stage's variables.

        Running trials of other workers count with the median reward, so that none is tried twice.
        """
        done = finished(study)
        running = study.get_trials(False, (TrialState.RUNNING,))
        median = float(np.median([past.value or 0.0 for past in done])) if done else 0.0
        history = [(past, past.value or 0.0) for past in done]
        history += [(current, median) for current in running if RATIOS in current.user_attrs]
        return [
            optuna.trial.create_trial(
                params=dict(zip(_names(stage), self._values(stage, past).tolist(), strict=True)),
                distributions=dict.fromkeys(_names(stage), FloatDistribution(0.0, 1.0)),
                value=value,
            )
            for past, value in history
        ]

    def _values(self, stage: SearchStage, trial: FrozenTrial) -> np.ndarray:
        """Return a policy in a stage's variables; only a Gaussian process accepts values outside the bounds."""
        values = stage.reduce(ratios_of(trial))
        return values if self.kind == "gp" else np.clip(values, stage.low, stage.high)


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Return the evaluated policies by number, without the probes of single groups."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial for trial in done if not trial.user_attrs.get(PROBE)]


def sobol(variables: int, seed: int, number: int) -> np.ndarray:
    """Return a point of a scrambled Sobol sequence, in [0, 1).

    Args:
        variables: dimension of the point.
        seed: of the scrambling.
        number: index of the point in the sequence.
    """
    sequence = qmc.Sobol(variables, scramble=True, seed=seed)
    return np.asarray(sequence.random_base2(int(number + 1).bit_length())[number])


def ratios_of(trial: FrozenTrial) -> np.ndarray:
    """Return the share that each group kept in a trial."""
    return np.asarray(trial.user_attrs[RATIOS], dtype=np.float64)


def _names(stage: SearchStage) -> list[str]:
    return [f"{stage.name}-{index}" for index in range(stage.variables)]


def _space(stage: SearchStage) -> dict[str, FloatDistribution]:
    bounds = zip(_names(stage), stage.low, stage.high, strict=True)
    return {name: FloatDistribution(low, high) for name, low, high in bounds}
