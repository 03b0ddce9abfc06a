"""A study in a file whose last line a killed worker cut."""

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from edgeprune.errors import StorageError
from edgeprune.studies.opening import open_storage
from edgeprune.studies.store import StudyStore


def values_of(store: StudyStore) -> dict[int, float | None]:
    return {t.number: t.value for t in store.study.get_trials() if t.state == TrialState.COMPLETE}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Two trials; the last line says that the second one is complete."""
    StudyStore.open(f"journal:{tmp_path / 'log'}", "one", {}).work(lambda trial: float(trial.number), 2)
    last = (tmp_path / "log").read_bytes().splitlines()[-1]
    assert b'"state":1' in last and b'"values":[1.0]' in last
    return tmp_path / "log"


def test_a_last_line_that_was_cut_at_any_byte_is_dropped(log: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = log.read_bytes()
    start = content[:-1].rindex(b"\n") + 1
    for end in range(start, len(content)):
        log.write_bytes(content[:end])
        caplog.clear()
        storage = open_storage(f"journal:{log}")
        (study,) = storage.get_all_studies()
        storage.create_new_trial(study._study_id)
        assert any("its last line was cut" in record.message for record in caplog.records) == (end > start)
        written = log.read_bytes()
        assert written[:start] == content[:start] and len(written[start:].splitlines()) == 1
        again = open_storage(f"journal:{log}").get_all_trials(study._study_id)
        assert [(trial.state, trial.value) for trial in again] == [
            (TrialState.COMPLETE, 0.0), (TrialState.RUNNING, None), (TrialState.RUNNING, None),
        ]  # fmt: skip


def test_a_search_goes_on_with_another_trial(log: Path) -> None:
    log.write_bytes(log.read_bytes()[:-20])
    store, evaluated = StudyStore.open(f"journal:{log}", "one", {}), list[int]()
    store.work(
        lambda trial: 10.0 + trial.number,
        9,
        stop=lambda: bool(evaluated),
        after_trial=lambda: evaluated.append(1),
    )
    assert values_of(store) == {0: 0.0, 2: 12.0}


def test_a_worker_at_work_goes_on_when_another_one_was_killed_while_it_wrote(log: Path) -> None:
    store = StudyStore.open(f"journal:{log}", "one", {})

    def objective(trial: optuna.Trial) -> float:
        if trial.number == 2:
            with log.open("ab") as other:
                other.write(b'{"op_code":8,"tri')
        return float(trial.number)

    store.work(objective, 4)
    assert values_of(store) == {0: 0.0, 1: 1.0, 2: 2.0, 3: 3.0}


def test_a_broken_line_in_the_middle_is_an_error(log: Path) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:-2], lines[-2][:9] + b"\n", lines[-1]]))
    with pytest.raises(StorageError, match="cannot be used") as error:
        StudyStore.open(f"journal:{log}", "one", {})
    assert "\n" not in str(error.value)
