"""Rows that workers share: each is made once, and all workers end with the same table."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from comparison.sharing_workers import check_three_of_which_one_is_killed
from edgeprune.comparison import CompareOptions, compare
from edgeprune.errors import RunError, StorageError, TrainError
from edgeprune.studies.pieces import PIECE, REPORT, SharedPieces
from edgeprune.studies.store import StudyStore


@pytest.fixture
def shared_options(finished: Path, options: CompareOptions) -> CompareOptions:
    """Two rows from the same weights, so that nothing but the rows is trained."""
    training = {**options.training, "weights": str(finished / "baseline/baseline.safetensors")}
    del training["baseline_epochs"]
    return replace(options, training=training)


@pytest.mark.parametrize("kind", ["sqlite:///", "journal:"])
def test_three_workers_of_which_one_is_killed(kind: str, place: Path, finished: Path, tmp_path: Path) -> None:
    weights = finished / "baseline/baseline.safetensors"
    check_three_of_which_one_is_killed(place, weights, f"{kind}{tmp_path / 'rows'}", tmp_path)


def test_a_row_of_another_worker_is_in_the_table(
    finished: Path, shared_options: CompareOptions, tmp_path: Path
) -> None:
    """What one worker would make alone is what several make together; the second makes nothing."""
    url = f"sqlite:///{tmp_path / 'rows.db'}"
    first = compare(tmp_path / "a", shared_options, storage=url)
    second = compare(tmp_path / "b", shared_options, storage=url)
    assert second.to_dict() == first.to_dict()
    assert not (tmp_path / "b/rows").exists() and (tmp_path / "b/accuracy.png").exists()
    alone = compare(finished, resume=True)
    assert [row.score for row in first.rows] == [row.score for row in alone.rows]
    assert ["host" in row for row in alone.rows] == [False, False]


def test_a_failed_row_is_said_by_all_and_tried_again_on_resume(
    shared_options: CompareOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"journal:{tmp_path / 'rows'}"
    from edgeprune.comparison import running

    train = running._train

    def fail(place: Path, training: dict[str, Any], progress: Any) -> None:
        if training["seed"] == 1:
            raise TrainError("the loss became nan")
        train(place, training, progress)

    with monkeypatch.context() as patch:
        patch.setattr(running, "_train", fail)
        first = compare(tmp_path / "a", shared_options, storage=url)
    assert [(row.status, row.reason) for row in first.rows] == [
        ("done", None),
        ("failed", "the loss became nan"),
    ]
    second = compare(tmp_path / "b", shared_options, storage=url)
    assert second.to_dict() == first.to_dict()
    again = compare(tmp_path / "b", storage=url, resume=True)
    assert [row.status for row in again.rows] == ["done", "done"]


def test_other_work_is_refused_in_one_line(shared_options: CompareOptions, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'rows.db'}"
    named = replace(shared_options, study="mine")
    StudyStore.open(url, "mine", {"model": "m"})
    with pytest.raises(StorageError, match="'mine' .* is not a comparison of edgeprune's: choose another"):
        compare(tmp_path / "a", named, storage=url)
    compare(tmp_path / "b", replace(shared_options, seeds=1), storage=url)
    with pytest.raises(StorageError, match="holds another comparison: its rows is"):
        compare(tmp_path / "c", shared_options, storage=url)
    with pytest.raises(StorageError, match="unknown kind"):
        compare(tmp_path / "d", shared_options, storage="nonsense")
    assert not (tmp_path / "d").exists()


def test_what_was_edited_is_refused_in_one_line(shared_options: CompareOptions, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'rows.db'}"
    one_seed = replace(shared_options, seeds=1)
    compare(tmp_path / "a", one_seed, storage=url)
    (study,) = optuna.get_all_study_summaries(url)
    (trial,) = optuna.load_study(study_name=study.study_name, storage=url).get_trials()
    names = trial.distributions[PIECE]
    for attributes in ({}, {REPORT: 3}, {REPORT: {**trial.user_attrs[REPORT], "rows": []}}):
        edited = optuna.create_study(study_name=f"s{len(str(attributes))}", storage=url, direction="maximize")
        edited.set_user_attr("comparison", study.user_attrs["comparison"])
        edited.add_trial(
            optuna.trial.create_trial(
                params=trial.params, distributions={PIECE: names}, value=1.0, user_attrs=attributes
            )
        )
        with pytest.raises(StorageError, match="trial 0 of the study") as error:
            compare(tmp_path / edited.study_name, replace(one_seed, study=edited.study_name), storage=url)
        assert "\n" not in str(error.value)


def test_the_storage_is_given_again_and_is_the_same(shared_options: CompareOptions, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'rows.db'}"
    compare(tmp_path / "a", replace(shared_options, seeds=1), storage=url)
    with pytest.raises(RunError, match="give `storage` again, in full"):
        compare(tmp_path / "a", resume=True)
    with pytest.raises(RunError, match="was begun with another storage"):
        compare(tmp_path / "a", resume=True, storage=f"sqlite:///{tmp_path / 'other.db'}")


def test_a_comparison_that_is_not_shared_stays_so(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="was begun without a storage"):
        compare(finished, resume=True, storage=f"sqlite:///{tmp_path / 'rows.db'}")


def test_workers_that_begin_a_piece_at_once_do_not_both_do_it(tmp_path: Path) -> None:
    """Both looked before either began: the one that began later sees the other, and takes the next piece."""
    url = f"sqlite:///{tmp_path / 'rows.db'}"
    later, earlier = (
        SharedPieces(StudyStore.open(url, "one", {}, kind="comparison"), ("a", "b")) for _ in range(2)
    )
    trial = earlier.claim()
    assert trial is not None and trial.params == {PIECE: "a"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(later, "_alive", set)
        claimed = later.claim()
    assert claimed is not None and claimed.params == {PIECE: "b"}
    assert later.claim() is None and not later.are_through()
    assert earlier.do(trial, lambda: ({"n": 1}, 0.5)) and later.do(claimed, lambda: ({"n": 2}, None))
    assert later.are_through() and later.reports() == {"a": {"n": 1}, "b": {"n": 2}}
    assert [t.state.name for t in later.store.study.get_trials()] == ["COMPLETE", "PRUNED", "FAIL"]


def test_a_piece_that_a_worker_had_begun_comes_first(tmp_path: Path) -> None:
    url = f"journal:{tmp_path / 'rows'}"
    pieces = SharedPieces(StudyStore.open(url, "one", {}, kind="comparison"), ("a", "b", "c"))
    claimed = [pieces.claim(first=("c",)) for _ in range(4)]
    assert [trial and trial.params[PIECE] for trial in claimed] == ["c", "a", "b", None]


def test_an_interrupted_piece_is_free_again(tmp_path: Path) -> None:
    url = f"journal:{tmp_path / 'rows'}"
    pieces = SharedPieces(StudyStore.open(url, "one", {}, kind="comparison"), ("a",))
    trial = pieces.claim()
    assert trial is not None

    def interrupted() -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pieces.do(trial, interrupted)
    again = pieces.claim()
    assert again is not None and again.params == {PIECE: "a"}
