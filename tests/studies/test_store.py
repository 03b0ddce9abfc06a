"""Many workers, one study."""

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from edgeprune.errors import StorageError
from edgeprune.studies.store import StudyStore
from studies.workers import check_three_of_which_one_is_killed


@pytest.mark.parametrize("kind", ["sqlite:///", "journal:"])
def test_three_workers_of_which_one_is_killed(kind: str, tmp_path: Path) -> None:
    check_three_of_which_one_is_killed(f"{kind}{tmp_path / 'study.db'}", tmp_path)


def test_workers_that_begin_the_last_trial_at_once_do_not_both_finish_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    store, other = (StudyStore.open(url, "shared", {"model": "m"}) for _ in range(2))
    begun: list[optuna.Trial] = []

    def asked_at_once() -> int:  # between the look at the study and the own trial, another begins one
        begun.append(other.study.ask())
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "running", asked_at_once)
        store.work(lambda trial: 0.25, 1, stop=lambda: bool(begun))
    states = [trial.state for trial in store.study.get_trials()]
    assert states == [TrialState.RUNNING, TrialState.PRUNED]
    store.study.tell(begun.pop(), 0.5)
    store.work(lambda trial: 0.25, 1)
    assert [trial.value for trial in store.study.get_trials(states=(TrialState.COMPLETE,))] == [0.5]


def test_a_worker_that_was_given_up_drops_its_trial_and_goes_on(tmp_path: Path) -> None:
    """It slept for so long that another worker marked its trial as failed, which a new trial replaces."""
    url = f"journal:{tmp_path / 'log'}"
    store, other = (StudyStore.open(url, "shared", {"model": "m"}) for _ in range(2))

    def objective(trial: optuna.Trial) -> float:
        if trial.number == 1:
            other.study.tell(1, state=TrialState.FAIL)
        return float(trial.number)

    store.work(objective, 3)
    values = {trial.number: (trial.state, trial.value) for trial in other.study.get_trials()}
    assert values == {
        0: (TrialState.COMPLETE, 0.0),
        1: (TrialState.FAIL, None),
        2: (TrialState.COMPLETE, 2.0),
        3: (TrialState.COMPLETE, 3.0),
    }


def test_an_interrupt_frees_the_trial(tmp_path: Path) -> None:
    store = StudyStore.open(f"sqlite:///{tmp_path / 'a.db'}", "one", {})

    def interrupted(trial: optuna.Trial) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.work(interrupted, 1)
    assert [trial.state for trial in store.study.get_trials()] == [TrialState.FAIL]


@pytest.mark.parametrize("kind", ["sqlite:///", "journal:"])
def test_each_trial_is_checked_once(kind: str, tmp_path: Path) -> None:
    checked: list[int] = []
    url = f"{kind}{tmp_path / 'study'}"
    StudyStore.open(url, "one", {}).work(lambda trial: 1.0, 3)
    store = StudyStore.open(url, "one", {}, check=lambda trial: checked.append(trial.number))
    store.work(lambda trial: 1.0, 3)
    store.work(lambda trial: 1.0, 3)
    assert checked == [0, 1, 2]


@pytest.mark.parametrize(
    "line", ['{"op_code": 4}', "[1]", "nonsense", '{"op_code": 8, "trial_id": 7, "user_attr": {}}']
)
def test_a_damaged_journal_is_one_line(line: str, tmp_path: Path) -> None:
    url = f"journal:{tmp_path / 'log'}"
    store = StudyStore.open(url, "one", {})
    with (tmp_path / "log").open("a") as log:
        log.write(line + "\n" + line + "\n")
    for use in (lambda: store.work(lambda trial: 1.0, 1), lambda: StudyStore.open(url, "one", {})):
        with pytest.raises(StorageError, match="holds what edgeprune did not write|cannot be used") as error:
            use()
        assert "\n" not in str(error.value)


def test_a_worker_goes_on_where_others_stopped(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'deep' / 'study.db'}"
    first = StudyStore.open(url, "one", {"model": "m"})
    first.work(lambda trial: trial.suggest_float("x", 0, 1), 3)
    reports: list[int] = []
    again = StudyStore.open(url, "one", {"model": "m"})
    again.work(lambda trial: trial.suggest_float("x", 0, 1), 5, after_trial=lambda: reports.append(1))
    assert len(again.study.trials) == 5 and len(reports) == 2
    again.work(lambda trial: 1 / 0, 9, stop=lambda: True)
    with pytest.raises(ZeroDivisionError):
        again.work(lambda trial: 1 / 0, 6)
    assert again.study.trials[-1].state == TrialState.FAIL


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://me:secret@127.0.0.1:1/none", "the storage postgresql://...@127.0.0.1:1/none "),
        ("nonsense", "give another as sqlite:///FILE"),
        ("sqlite:////proc/none/study.db", "cannot be used"),
    ],
)
def test_a_storage_that_cannot_be_reached_is_one_line(url: str, message: str) -> None:
    with pytest.raises(StorageError) as error:
        StudyStore.open(url, "one", {})
    assert message in str(error.value)
    assert "\n" not in str(error.value) and "secret" not in str(error.value)


def test_another_search_is_refused_by_what_differs(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    StudyStore.open(url, "one", {"model": "m", "target": "flops=0.5"})
    with pytest.raises(StorageError, match="holds another search: its target is flops=0.5, not flops=0.3"):
        StudyStore.open(url, "one", {"model": "m", "target": "flops=0.3"})
    optuna.create_study(study_name="foreign", storage=url).optimize(lambda trial: 1.0, n_trials=1)
    with pytest.raises(StorageError, match="'foreign' .* is not a search of edgeprune's"):
        StudyStore.open(url, "foreign", {"model": "m"})
    with pytest.raises(StorageError, match="'one' .* is not a comparison of edgeprune's"):
        StudyStore.open(url, "one", {"model": "m", "target": "flops=0.5"}, kind="comparison")


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    """The kernel itself refuses to let the database grow."""
    import resource

    store = StudyStore.open(f"sqlite:///{tmp_path / 'a.db'}", "study", {"model": "m"})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def objective(trial: optuna.Trial) -> float:
        trial.set_user_attr("long", "x" * 100_000)
        return 1.0

    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "a.db").stat().st_size + 4096, before[1]))
    try:
        with (
            pytest.raises(StorageError, match="a.db failed .*: repair it, then continue") as error,
            store.explained(),
        ):
            store.work(objective, 3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["sqlite:///", "journal:"])
def test_the_first_value_that_is_noted_is_every_workers(kind: str, tmp_path: Path) -> None:
    url = f"{kind}{tmp_path / 'study.db'}"
    store, other = (StudyStore.open(url, "shared", {"model": "m"}) for _ in range(2))

    def noted_meanwhile() -> dict[str, float]:
        assert other.agreed("drop", lambda: {"value": 0.5}) == {"value": 0.5}
        return {"value": 0.25}

    assert store.agreed("drop", noted_meanwhile) == {"value": 0.5}
    assert other.agreed("drop", lambda: {"value": 0.75}) == {"value": 0.5}
    assert not store.trials(TrialState.COMPLETE, TrialState.RUNNING)  # it counts as no trial
    assert store.agreed("another", lambda: 1) == 1
