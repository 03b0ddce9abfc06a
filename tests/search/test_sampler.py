"""Which policy comes next, in a study that needs no network."""

import numpy as np
import optuna
import pytest

from edgeprune.search.sampler import PROBE, RATIOS, PolicySampler, finished, sobol
from search.test_strategy import strategy


def objective(sampler: PolicySampler):
    """Best where every group keeps 0.3; what is realised is a little less than what was asked."""

    def variable(trial: optuna.Trial) -> float:
        stage = sampler.stage
        values = [
            trial.suggest_float(f"{stage.name}-{i}", low, high)
            for i, (low, high) in enumerate(zip(stage.low, stage.high, strict=True))
        ]
        ratios = stage.expand(values) - 0.01
        trial.set_user_attr(RATIOS, ratios.tolist())
        trial.set_user_attr(PROBE, False)
        return float(1 - np.abs(ratios - 0.3).mean())

    return variable


def searched(kind: str, trials: int, **options: object) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = PolicySampler(strategy(trials=trials, **options), kind, seed=1, design=6)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(objective(sampler), n_trials=trials)
    return study


def test_a_sobol_design_fills_the_space_and_needs_no_agreement() -> None:
    points = np.stack([sobol(3, 5, number) for number in range(8)])
    assert np.array_equal(points[:4], [sobol(3, 5, number) for number in range(4)])
    for column in points.T:  # one in each eighth
        assert sorted((column * 8).astype(int)) == list(range(8))
    assert not np.array_equal(sobol(3, 6, 0), points[0])


@pytest.mark.parametrize("kind", ["gp", "tpe", "random"])
def test_stages_follow_each_other_in_one_study(kind: str) -> None:
    study = searched(kind, 20)
    names = [next(iter(trial.params)).split("-")[0] for trial in study.trials]
    assert names[:8] == ["clusters"] * 8
    assert names[-1] == "layers" and "bridge" in names
    assert len(study.trials[0].params) == 3 and len(study.trials[-1].params) == 5


def test_it_learns_from_what_was_evaluated() -> None:
    """The middle of the design is far from 0.3; a model of it finds the way in a few steps."""
    model, blind = searched("gp", 20, rollback="none"), searched("random", 20, rollback="none")
    assert model.best_value > 0.97 > blind.best_value


def test_the_history_is_of_realised_policies_by_the_stages_variables() -> None:
    study = searched("random", 12)
    sampler = study.sampler
    assert isinstance(sampler, PolicySampler)
    stage = sampler.strategy.first()
    history = sampler._history(study, stage)
    assert len(history) == 12
    requested, events = study.trials[0].params, history[0].params
    assert events["clusters-1"] == pytest.approx(requested["clusters-1"] - 0.01)
    assert history[0].value == study.trials[0].value


def test_what_another_worker_is_at_counts_as_middling() -> None:
    study = searched("random", 9, rollback="none")
    sampler = study.sampler
    assert isinstance(sampler, PolicySampler)
    study.ask()  # one that has not said yet what it is at
    going = study.ask()
    going.set_user_attr(RATIOS, [0.7] * 5)
    history = sampler._history(study, sampler.strategy.first())
    assert len(history) == 10
    assert history[-1].value == pytest.approx(np.median([trial.value for trial in finished(study)]))
    assert set(history[-1].params.values()) == {0.7}


def test_a_model_hears_of_what_lies_outside_the_box_and_stays_within_it() -> None:
    """All evaluations count after a rollback; what is proposed is in the new box."""
    for kind in ("gp", "tpe"):
        study = searched(kind, 20, rollback="direct")
        sampler = study.sampler
        assert isinstance(sampler, PolicySampler)
        stage = sampler.stage
        assert stage.name == "layers"
        values = np.array([list(item.params.values()) for item in sampler._history(study, stage)])
        outside = (values < np.array(stage.low)) | (values > np.array(stage.high))
        assert len(values) == 20 and outside.any() == (kind == "gp")
        last = np.array(list(study.trials[-1].params.values()))
        assert (last >= np.array(stage.low)).all() and (last <= np.array(stage.high)).all()


def test_a_worker_that_comes_when_nothing_is_finished_takes_a_point_of_the_design() -> None:
    sampler = PolicySampler(strategy(), "gp", seed=1, design=2)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for _ in range(4):
        trial = study.ask()
        assert set(trial.relative_params) == {"clusters-0", "clusters-1", "clusters-2"}
