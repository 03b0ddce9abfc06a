"""How far a run is, in a file: the pace is that of the last minute, what is left follows from it."""

from pathlib import Path

from edgeprune.errors import StorageError
from edgeprune.records.runs import ProgressRecord
from edgeprune.runs.progress_file import ProgressFile, read_progress


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def last(folder: Path) -> ProgressRecord:
    record = read_progress(folder)
    assert record is not None
    return record


def test_what_is_left_follows_from_the_pace(tmp_path: Path) -> None:
    """A step every half second for 10 s: 80 more of the stage take 40 s, 200 of later stages 100 s."""
    clock, calls = Clock(), []
    progress = ProgressFile(tmp_path, lambda *call: calls.append(call), clock)
    assert read_progress(tmp_path) is None
    progress.begin_stage("prune", 200)
    for step in range(21):
        clock.now = step * 0.5
        progress(step, 100, f"prune epoch 1/5, loss {step}")
    record = last(tmp_path)
    assert (record.stage, record.done, record.total) == ("prune", 20, 100)
    assert (record.left_s, record.later_s) == (40.0, 100.0)
    assert len(calls) == 21 and calls[-1] == (20, 100, "prune epoch 1/5, loss 20")


def test_it_is_written_now_and_then_and_where_the_work_changes(tmp_path: Path) -> None:
    clock = Clock()
    progress = ProgressFile(tmp_path, lambda *_call: None, clock)
    progress.begin_stage("prune", 0)
    progress(1, 100, "prune epoch 1/5")
    clock.now = 1.9
    progress(2, 100, "prune epoch 1/5")
    assert last(tmp_path).done == 1 and last(tmp_path).left_s is None
    progress(0, 8, "measuring plan 1")
    record = last(tmp_path)
    assert (record.text, record.stage, record.later_s) == ("measuring plan 1", None, None)


def test_a_pace_of_long_ago_does_not_count(tmp_path: Path) -> None:
    """Slow for 100 s, then 10 steps in 60 s: the 30 that are left take 180 s."""
    clock = Clock()
    progress = ProgressFile(tmp_path, lambda *_call: None, clock)
    for now, done in ((0, 0), (100, 10), (106, 11), (160, 20)):
        clock.now = now
        progress(done, 50, "tables")
    assert last(tmp_path).left_s == 180.0


def test_a_full_disk_is_no_reason_to_stop(tmp_path: Path, monkeypatch) -> None:
    def full(*_arguments: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(ProgressRecord, "write", full)
    ProgressFile(tmp_path, lambda *_call: None)(1, 2, "work")
    assert read_progress(tmp_path) is None
