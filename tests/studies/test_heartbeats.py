"""Who has been silent for too long, by one worker's own clock and what it saw."""

from pathlib import Path
from time import sleep

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from edgeprune.studies.heartbeats import HEARTBEAT, Watch, beating
from edgeprune.studies.store import StudyStore


def running(number: int, count: int | None) -> FrozenTrial:
    trial = create_trial(state=TrialState.RUNNING, user_attrs={} if count is None else {HEARTBEAT: count})
    trial.number = number
    return trial


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_worker_is_dead_after_four_silent_intervals() -> None:
    clock = Clock()
    watch = Watch(interval_s=10, clock=clock)
    dead = []
    for second in range(60):
        clock.now = 100.0 + second
        dead.append([trial.number for trial in watch.dead([running(0, second // 10), running(1, None)])])
    assert dead.index([1]) == 41  # more than four intervals of ten seconds
    assert [0] not in dead and [0, 1] not in dead


def test_time_in_which_a_worker_did_not_look_counts_for_one_interval() -> None:
    """The server was away for an hour, or the worker was busy itself: the others' reports are still to come."""
    clock = Clock()
    watch = Watch(interval_s=10, clock=clock)
    assert watch.dead([running(0, 5)]) == []
    for _ in range(4):
        clock.now += 3600
        assert watch.dead([running(0, 5)]) == []
    clock.now += 3600
    assert [trial.number for trial in watch.dead([running(0, 5)])] == [0]


def test_a_worker_that_reports_again_is_alive() -> None:
    clock = Clock()
    watch = Watch(interval_s=10, clock=clock)
    for count in (1, 1, 1, 1, 2, 2, 2, 2):
        assert watch.dead([running(0, count)]) == []
        clock.now += 10


def test_reports_are_written_until_the_block_ends(tmp_path: Path) -> None:
    store = StudyStore.open(f"journal:{tmp_path / 'log'}", "one", {})
    trial = store.study.ask()
    with beating(store.storage, trial._trial_id, 0.01):
        while store.study.get_trials()[0].user_attrs.get(HEARTBEAT, 0) < 3:
            sleep(0.01)
    count = store.study.get_trials()[0].user_attrs[HEARTBEAT]
    sleep(0.05)
    assert store.study.get_trials()[0].user_attrs[HEARTBEAT] == count


def test_reports_outlast_errors_of_the_server_and_end_with_the_trial() -> None:
    calls: list[int] = []

    class Flaky(optuna.storages.InMemoryStorage):
        def set_trial_user_attr(self, trial_id: int, key: str, value: object) -> None:
            calls.append(int(str(value)))
            if len(calls) == 5:
                raise UpdateFinishedTrialError
            raise ConnectionError

    with beating(Flaky(), 0, 0.001):
        sleep(0.1)
    assert calls == [1, 2, 3, 4, 5]
