"""A study in a real PostgreSQL and a real Redis, whose workers are killed and whose server goes away."""

import os
import time
from pathlib import Path

import fresh
import pytest
from optuna.trial import TrialState
from studies.workers import TRIALS, check_three_of_which_one_is_killed, lines, started, until

from edgeprune.errors import StorageError
from edgeprune.studies.opening import check_storage
from edgeprune.studies.store import StudyStore
from servers.programs import PASSWORD, Redis, Server

IMPATIENT = """
import sys
from edgeprune.errors import EdgePruneError
from edgeprune.studies.store import StudyStore
store = StudyStore.open(sys.argv[1], "shared", {"model": "m"})
store.storage.be_patient(1)
def objective(trial):
    if trial.number == 2:
        print("ready", flush=True)
        sys.stdin = open(sys.argv[2])
        sys.stdin.read()
    return 1.0
try:
    with store.explained():
        store.work(objective, 5)
except EdgePruneError as error:
    sys.exit(str(error))
"""


def test_three_workers_of_which_one_is_killed(url: str, tmp_path: Path) -> None:
    check_three_of_which_one_is_killed(url, tmp_path)


def test_workers_wait_for_a_server_that_crashes(server: Server, url: str, tmp_path: Path) -> None:
    """Each trial is finished once, by the worker that began it, and none is lost or begun again."""
    workers, notes = started(url, tmp_path, 2)
    try:
        until(lambda: sum(len(lines(note, "end")) for note in notes) >= 3)
        server.crash()
        time.sleep(2)
        server.start()
        done = [worker.wait() for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in done] == [0, 0], done
    assert not any(worker.stderr or worker.stdout for worker in done)
    ended = [number for note in notes for number in lines(note, "end")]
    assert len(ended) == len(set(ended)) == TRIALS
    trials = StudyStore.open(url, "shared", {"model": "m"}).study.get_trials()
    assert sorted(t.number for t in trials if t.state == TrialState.COMPLETE) == sorted(ended)


def test_a_server_that_does_not_come_back_ends_a_worker_in_one_line(
    server: Server, url: str, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    worker = fresh.start(["-c", IMPATIENT, url, gate])
    output = Path(worker.folder.name) / "stdout"
    try:
        until(lambda: output.exists() and "ready" in output.read_text())
        server.crash()
        gate.write_text("")
        done = worker.wait()
    finally:
        worker.kill()
        if server.process is not None and server.process.poll() is not None:
            server.start()
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert "has not answered for" in line and "when it does, continue with --resume" in line
    assert PASSWORD not in line
    again = StudyStore.open(url, "shared", {"model": "m"}, heartbeat_s=0.2)
    assert len(again.trials(TrialState.COMPLETE)) == 2  # what was finished is there
    again.work(lambda trial: 2.0, 5)
    assert sorted(trial.value or 0 for trial in again.trials(TrialState.COMPLETE)) == [
        1.0,
        1.0,
        2.0,
        2.0,
        2.0,
    ]


def test_a_wrong_password_is_one_line_without_it(server: Server, url: str) -> None:
    right = url.split("@127")[0].rsplit(":", 1)[1]
    with pytest.raises(StorageError, match="cannot be used") as error:
        check_storage(url.replace(right, "wrong-password"))
    assert "wrong-password" not in str(error.value) and "\n" not in str(error.value)
    check_storage(url)


def test_a_database_that_is_not_there(server: Server) -> None:
    with pytest.raises(StorageError, match="does not exist|out of range") as error:
        check_storage(server.url(4711))
    assert PASSWORD not in str(error.value) and "\n" not in str(error.value)


@pytest.fixture
def forgetful() -> "Server":
    pytest.importorskip("redis")
    server = Redis()
    server.keeps = False
    return server


def test_a_redis_that_lost_its_entries_is_noticed(server: Server, forgetful: Redis) -> None:
    if not isinstance(server, Redis):
        pytest.skip("about Redis alone")
    try:
        forgetful.start()
        store = StudyStore.open(forgetful.url(), "one", {"model": "m"})
        store.work(lambda trial: 1.0, 3)
        forgetful.crash()
        forgetful.start()
        other = StudyStore.open(forgetful.url(), "one", {"model": "m"})
        other.work(lambda trial: 1.0, 5)  # more entries than there were: their number alone does not tell
        with pytest.raises(StorageError, match="came back without its last entries.*appendonly yes") as error:
            store.work(lambda trial: 1.0, 5)
        assert PASSWORD not in str(error.value)
    finally:
        forgetful.remove()


def test_what_others_put_into_redis_is_neither_run_nor_taken(server: Server, url: str) -> None:
    """A pickle where Optuna keeps its snapshots, and entries that are none."""
    if not isinstance(server, Redis):
        pytest.skip("about Redis alone")
    import redis

    client = redis.Redis.from_url(url)
    client.flushdb()
    client.set(":snapshot", b"cos\nabort\n(tR.")
    StudyStore.open(url, "one", {"model": "m"}).work(
        lambda trial: 1.0, 101
    )  # as many as have a snapshot made
    assert client.get(":snapshot") == b"cos\nabort\n(tR."
    for entry in (b"[1]", b"\xff", b'{"op_code": 4}'):
        client.rpush(":unrelated", entry)
        number = client.incr(":log_number")
        client.set(f":log:{number}", entry)
        with pytest.raises(StorageError) as error:
            StudyStore.open(url, "one", {"model": "m"})
        assert "\n" not in str(error.value) and PASSWORD not in str(error.value)
        client.set(":log_number", number - 1)
    client.delete(":log:3")
    with pytest.raises(StorageError, match="damaged or was cut .entry 3 .*noeviction"):
        StudyStore.open(url, "one", {"model": "m"})
    client.flushdb()
    client.rpush(":log_number", 1)
    with pytest.raises(StorageError, match="cannot be used"):
        StudyStore.open(url, "one", {"model": "m"})
    client.flushdb()
