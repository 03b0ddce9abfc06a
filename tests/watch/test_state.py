"""What a run is doing: waiting to start, under way, stopped, finished."""

import time
from pathlib import Path

import pytest
from files.test_locks import holding

from edgeprune.errors import RunError
from edgeprune.files.locks import held
from edgeprune.files.writing import write_json
from edgeprune.watch.state import FINISHED, RUNNING, STOPPED, WAITING, WatchedRun, duration
from watch.unfinished import finish, unfinished_run


def test_a_run_from_before_it_begins_to_its_end(tmp_path: Path) -> None:
    place = tmp_path / "my run"
    watched = WatchedRun(place)
    assert watched.state().kind == WAITING and f"{place} is not there yet" in watched.state().text
    unfinished_run(place)
    assert watched.state().kind == STOPPED
    assert watched.state().text.endswith(f"edgeprune train-prune --out '{place}' --resume")
    with held(place):
        state = watched.state()
        assert (state.kind, state.text) == (RUNNING, "Prune epoch 3/8, loss 0.4.")
        assert state.progress is not None and state.progress.left_s == 10.0
    assert watched.state().kind == STOPPED
    finish(place, tmp_path / "other")
    assert watched.state().kind == FINISHED


def test_a_process_that_was_killed_is_not_taken_for_one_that_trains(tmp_path: Path) -> None:
    """Its lock is tried once: a process that goes on with the run must not find it taken by one that looks."""
    place = unfinished_run(tmp_path / "mine")
    watched = WatchedRun(place)
    with holding(place) as child:
        assert watched.state().kind == RUNNING
        child.kill()
        child.wait()
        holder = (place / ".lock.json").read_text()
        assert watched.state().kind == STOPPED
        assert (place / ".lock.json").read_text() == holder
        (place / ".lock").unlink()
        (place / ".lock").mkdir()  # cannot be locked: whoever tried again would fail
        assert watched.state().kind == STOPPED


def test_a_process_that_says_nothing_for_long(tmp_path: Path) -> None:
    place = unfinished_run(tmp_path / "mine")
    record = {
        "schema": 1,
        "stage": None,
        "text": "tables",
        "done": 1,
        "total": 2,
        "left_s": None,
        "later_s": None,
    }
    write_json(place / "progress.json", {**record, "written": time.time() - 300})
    with held(place):
        assert WatchedRun(place).state().text == "Tables; nothing new for 5 min."
        (place / "progress.json").unlink()
        assert WatchedRun(place).state().text == "Starting."


def test_the_network_in_training_is_the_last_of_several(tmp_path: Path) -> None:
    place = unfinished_run(tmp_path / "mine")
    for number in ("2", "10"):
        unfinished_run(place / "points" / number)
    watched = WatchedRun(place)
    run = watched.run()
    assert run is not None and watched.in_training(run).path == place / "points" / "10"


@pytest.mark.parametrize("content", ["file", "folder"])
def test_what_is_no_run_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(RunError, match="is not a run folder"):
        WatchedRun(tmp_path if content == "folder" else tmp_path / "notes.txt")


def test_durations_are_in_the_unit_that_suits_them() -> None:
    assert [duration(s) for s in (4.4, 89, 91, 3600, 5400, 36_060)] == [
        "4 s", "89 s", "2 min", "60 min", "1 h 30 min", "10 h 01 min",
    ]  # fmt: skip
