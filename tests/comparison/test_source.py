import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgeprune.comparison.source import anchored, shared_training
from edgeprune.errors import EdgePruneError, RunError, TrainError


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A run of train-prune, free to be changed."""
    return Path(shutil.copytree(finished / "rows/learned-seed1", tmp_path / "run"))


def edited(run: Path, **changes: Any) -> None:
    path = run / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_name_brings_nothing_but_itself() -> None:
    assert shared_training("resnet8", {"epochs": 3}) == {"model": "resnet8", "epochs": 3}


def test_a_run_brings_its_model_data_baseline_and_options(run: Path, place: Path) -> None:
    found = shared_training(str(run), {"lr": 0.5})
    assert found["model"] == "compare_nets:tiny"
    assert found["data"] == str(place / "images")
    assert found["weights"] == str(run / "baseline.safetensors")
    assert (found["epochs"], found["prune_iterations"], found["target"]) == (3, 8, "flops=0.6")
    assert found["lr"] == 0.5
    assert not {"method", "seed", "moment", "init", "baseline_epochs"} & found.keys()


def test_other_epochs_choose_their_own_pruning_phase(run: Path) -> None:
    assert "prune_iterations" not in shared_training(str(run), {"epochs": 6})
    given = shared_training(str(run), {"epochs": 6, "prune_iterations": 7})
    assert (given["epochs"], given["prune_iterations"]) == (6, 7)


def test_a_run_without_a_baseline(run: Path) -> None:
    (run / "baseline.safetensors").unlink()
    with pytest.raises(RunError, match=r"has no baseline yet: go on with 'edgeprune train-prune --out .*run"):
        shared_training(str(run), {})
    assert "weights" not in shared_training(str(run), {}, needs_baseline=False)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"data": "digits"}, "is a run folder and brings its own: leave --data out"),
        ({"weights": "w.pt"}, "leave --weights out"),
        ({"baseline_epochs": 3}, "leave --baseline-epochs out"),
        ({"image_size": 16}, "leave --image-size out"),
    ],
)
def test_what_a_run_brings_cannot_be_given(run: Path, given: dict, message: str) -> None:
    with pytest.raises(TrainError, match=message):
        shared_training(str(run), given)


@pytest.mark.parametrize("stored", [{"a new option": 1}, None])
def test_a_run_of_another_version(run: Path, stored: dict | None) -> None:
    edited(run, options=stored)
    with pytest.raises(RunError, match="made by another version of edgeprune"):
        shared_training(str(run), {})


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(EdgePruneError, match="is not a run folder"):
        shared_training(str(tmp_path), {})


def test_paths_hold_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("birds").mkdir()
    Path("digits").mkdir()  # the name of a data set goes before a folder
    found = anchored({"data": "birds", "weights": "nowhere.pt", "epochs": 3})
    assert found == {"data": str(tmp_path / "birds"), "weights": "nowhere.pt", "epochs": 3}
    assert anchored({"data": "digits"}) == {"data": "digits"}
