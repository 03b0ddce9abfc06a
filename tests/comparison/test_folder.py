import json
from pathlib import Path

import pytest

from edgeprune.comparison.folder import ComparisonFolder, latest_comparison
from edgeprune.comparison.options import CompareOptions
from edgeprune.errors import RunError, TrainError

OPTIONS = CompareOptions(
    source="resnet8", methods=("learned",), moments=("end",), seeds=2, training={"epochs": 3}, seconds=1.5
)


def made(path: Path, options: CompareOptions = OPTIONS, *, force: bool = False) -> ComparisonFolder:
    with ComparisonFolder.create(path, options, force=force):
        pass
    return ComparisonFolder.open(path)


def test_what_was_asked_comes_back(tmp_path: Path) -> None:
    assert made(tmp_path / "out").read_options() == OPTIONS


def test_an_error_while_it_is_made_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(TrainError),
        ComparisonFolder.create(tmp_path / "a/b/out", OPTIONS, force=False) as folder,
    ):
        assert folder.path != tmp_path / "a/b/out"
        raise TrainError("no")
    assert list(tmp_path.iterdir()) == []


def test_an_error_while_it_is_replaced_leaves_the_old_one(tmp_path: Path) -> None:
    folder = made(tmp_path / "out")
    folder.log("a", "began")
    with pytest.raises(TrainError), ComparisonFolder.create(tmp_path / "out", OPTIONS, force=True):
        raise TrainError("no")
    assert folder.attempts("a")


def test_one_that_exists_is_kept_or_replaced(tmp_path: Path) -> None:
    folder = made(tmp_path / "out")
    folder.log("a", "began")
    with pytest.raises(RunError, match="exists: go on with --resume, start it anew with --force"):
        made(tmp_path / "out")
    assert made(tmp_path / "out", force=True).attempts("a") == []


def test_what_is_no_comparison_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("")
    for force in (False, True):
        with pytest.raises(RunError, match="exists and is not a comparison's folder"):
            made(tmp_path / "out", force=force)
    with pytest.raises(RunError, match="not a comparison's folder"):
        ComparisonFolder.open(tmp_path / "out")
    with pytest.raises(RunError, match="no such comparison"):
        ComparisonFolder.open(tmp_path / "nowhere")
    assert (tmp_path / "out/thesis.tex").exists()


def test_an_empty_folder_is_free(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert made(tmp_path / "out").read_options() == OPTIONS


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"schema": 99}, "made by a newer edgeprune .*update edgeprune"),
        ({"methods": None}, "of another version of edgeprune, or was edited"),
        ({"a new option": 1}, "of another version of edgeprune, or was edited"),
    ],
    ids=["schema", "none", "unknown"],
)
def test_options_of_another_version(tmp_path: Path, edit: dict, message: str) -> None:
    folder = made(tmp_path / "out")
    path = folder.path / "compare.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **edit}))
    with pytest.raises(RunError, match=message):
        folder.read_options()


def test_attempts_are_kept_by_row(tmp_path: Path) -> None:
    folder = made(tmp_path / "out")
    folder.log("a", "began")
    folder.log("b", "ended", seconds=1.0)
    assert folder.attempts("b") == [{"row": "b", "event": "ended", "seconds": 1.0}]


def test_the_latest_is_the_one_asked_for_last(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no comparison under"):
        latest_comparison(tmp_path)
    for name in ("b", "a"):
        made(tmp_path / name)
    assert latest_comparison(tmp_path) == tmp_path / "a"
