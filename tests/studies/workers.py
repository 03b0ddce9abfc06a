"""Workers of a study, each a process of its own, and what they note of their trials."""

import time
from collections.abc import Callable
from pathlib import Path

import fresh
from optuna.trial import TrialState

from edgeprune.studies.store import StudyStore

WORKER = """
import sys, time
from pathlib import Path
from edgeprune.studies.store import StudyStore
url, mine, trials = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
store = StudyStore.open(url, "shared", {"model": "m"}, heartbeat_s=0.5)
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


def started(
    url: str, folder: Path, count: int, trials: int = TRIALS
) -> tuple[list[fresh.Started], list[Path]]:
    """Start workers that begin together; return them and the files of their notes."""
    notes = [folder / f"worker{number}" for number in range(count)]
    workers = [fresh.start(["-c", WORKER, url, note, trials]) for note in notes]
    until(lambda: all(Path(f"{note}.ready").exists() for note in notes))
    (folder / "go").touch()
    return workers, notes


def check_three_of_which_one_is_killed(url: str, folder: Path) -> None:
    """Every finished trial is there once; the killed worker's own is begun anew by another."""
    workers, notes = started(url, folder, 3)
    try:
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


def until(true: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.005)
