"""Many workers, one study."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import fresh
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from edgeprune.errors import SearchError, StorageError
from edgeprune.search.study_store import StudyStore, is_stale

WORKER = """
import sys, time
from pathlib import Path
from edgeprune.search.study_store import StudyStore
url, mine, trials = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
store = StudyStore.open(url, "shared", {"model": "m"}, heartbeat_s=1)
Path(f"{mine}.ready").touch()
while not mine.with_name("go").exists(): time.sleep(0.005)
def objective(trial):
    x = trial.suggest_float("x", 0, 1)
    with mine.open("a") as out: out.write(f"begin {trial.number}\\n")
    time.sleep(0.15)
    with mine.open("a") as out: out.write(f"end {trial.number}\\n")
    return x
store.work(objective, trials)
"""
TRIALS = 10


def lines(path: Path, word: str) -> list[int]:
    text = path.read_text() if path.exists() else ""
    return [int(line.split()[1]) for line in text.splitlines() if line.startswith(word)]


def test_three_workers_of_which_one_is_killed(tmp_path: Path) -> None:
    """Every finished trial is there once; the killed worker's own is begun anew by another."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    notes = [tmp_path / f"worker{number}" for number in range(3)]
    workers = [fresh.start(["-c", WORKER, url, note, TRIALS]) for note in notes]
    try:
        until(lambda: all(Path(f"{note}.ready").exists() for note in notes))
        (tmp_path / "go").touch()
        until(lambda: bool(lines(notes[0], "end")))
        until(lambda: len(lines(notes[0], "begin")) > len(lines(notes[0], "end")))
        workers[0].kill()
        assert [worker.wait().returncode for worker in workers[1:]] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
    study = StudyStore.open(url, "shared", {"model": "m"}).study
    done = [trial.number for trial in study.get_trials(states=(TrialState.COMPLETE,))]
    assert len(done) == TRIALS and len(set(done)) == TRIALS
    ended = [number for note in notes for number in lines(note, "end")]
    assert sorted(ended) == sorted(done)
    assert all(lines(note, "end") for note in notes[1:])  # both had their share
    lost = set(lines(notes[0], "begin")) - set(lines(notes[0], "end"))
    states = {trial.number: trial.state for trial in study.get_trials()}
    assert [states[number] for number in lost] == [TrialState.FAIL] * len(lost)


def test_workers_that_begin_the_last_trial_at_once_do_not_both_finish_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    store, other = (StudyStore.open(url, "shared", {"model": "m"}) for _ in range(2))
    begun: list[optuna.Trial] = []

    def asked_at_once() -> int:  # between the look at the study and the own trial, another begins one
        begun.append(other.study.ask())
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_alive", asked_at_once)
        store.work(lambda trial: 0.25, 1, stop=lambda: bool(begun))
    states = [trial.state for trial in store.study.get_trials()]
    assert states == [TrialState.RUNNING, TrialState.PRUNED]
    store.study.tell(begun.pop(), 0.5)
    store.work(lambda trial: 0.25, 1)
    assert [trial.value for trial in store.study.get_trials(states=(TrialState.COMPLETE,))] == [0.5]


def until(true: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.005)


def test_without_heartbeats_a_dead_worker_is_told_by_its_age(tmp_path: Path) -> None:
    """A minute at least, and many times as long as a trial takes."""
    now = datetime.now()

    def trial(began_s: float, took_s: float | None) -> FrozenTrial:
        made = optuna.trial.create_trial(value=1.0)
        made.datetime_start = now - timedelta(seconds=began_s)
        made.datetime_complete = None if took_s is None else made.datetime_start + timedelta(seconds=took_s)
        return made

    quick, slow = [trial(900, 1.0)], [trial(900, 10.0)]
    assert is_stale(trial(61, None), quick) and not is_stale(trial(55, None), quick)
    assert is_stale(trial(205, None), slow) and not is_stale(trial(195, None), slow)
    assert not is_stale(trial(9999, None), [])  # nobody knows how long a trial takes
    store = StudyStore.open(f"journal:{tmp_path / 'log'}", "one", {})
    store.work(lambda trial: trial.suggest_float("x", 0, 1), 3)
    store.study.ask()
    assert store._alive() == 1


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
        ("postgresql://me:secret@127.0.0.1:1/none", "postgresql://...@127.0.0.1:1/none cannot be used"),
        ("nonsense", "give another as sqlite:///FILE"),
        ("sqlite:////proc/none/study.db", "cannot be used"),
    ],
)
def test_a_storage_that_cannot_be_reached_is_one_line(url: str, message: str) -> None:
    with pytest.raises(SearchError) as error:
        StudyStore.open(url, "one", {})
    assert message in str(error.value)
    assert "\n" not in str(error.value) and "secret" not in str(error.value)


def test_another_search_is_refused_by_what_differs(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    StudyStore.open(url, "one", {"model": "m", "target": "flops=0.5"})
    with pytest.raises(SearchError, match="holds another search: its target is flops=0.5, not flops=0.3"):
        StudyStore.open(url, "one", {"model": "m", "target": "flops=0.3"})
    optuna.create_study(study_name="foreign", storage=url).optimize(lambda trial: 1.0, n_trials=1)
    with pytest.raises(SearchError, match="'foreign' .* is not a search of edgeprune's"):
        StudyStore.open(url, "foreign", {"model": "m"})


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
