import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgeprune.comparison.source import absolute_paths, shared_training
from edgeprune.errors import EdgePruneError, RunError, TrainError
from edgeprune.runs.run import Run
from edgeprune.train_prune import pipeline
from edgeprune.train_prune.defaults import resolve
from edgeprune.train_prune.options import TrainPruneOptions


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
    result = shared_training(str(run), {"lr": 0.5})
    assert result["model"] == "compare_nets:tiny"
    assert result["data"] == str(place / "images")
    assert result["weights"] == str(run / "baseline.safetensors")
    assert (result["epochs"], result["prune_iterations"], result["target"]) == (3, 8, "flops=0.6")
    assert result["lr"] == 0.5
    assert not {"method", "seed", "moment", "init", "baseline_epochs"} & result.keys()


def test_held_out_images_stay_those_that_the_baseline_was_not_trained_on(run: Path) -> None:
    assert shared_training(str(run), {}, same_split=True)["seed"] == 1
    assert "seed" not in shared_training("resnet8", {}, same_split=True)


def test_other_epochs_choose_their_own_pruning_phase(run: Path) -> None:
    assert "prune_iterations" not in shared_training(str(run), {"epochs": 6})
    options = shared_training(str(run), {"epochs": 6, "prune_iterations": 7})
    assert (options["epochs"], options["prune_iterations"]) == (6, 7)


def test_a_run_without_a_baseline(run: Path) -> None:
    (run / "baseline.safetensors").unlink()
    with pytest.raises(RunError, match=r"has no baseline yet: go on with 'edgeprune train-prune --out .*run"):
        shared_training(str(run), {})
    assert "weights" not in shared_training(str(run), {}, needs_baseline=False)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"data": "digits"}, "is a run folder, which defines it: leave `data` out"),
        ({"weights": "w.pt"}, "leave `weights` out"),
        ({"weights_key": "ema"}, "leave `weights_key` out"),
        ({"baseline_epochs": 3}, "leave `baseline_epochs` out"),
        ({"image_size": 16}, "leave `image_size` out"),
    ],
)
def test_what_a_run_brings_cannot_be_given(run: Path, argument: dict, message: str) -> None:
    with pytest.raises(TrainError, match=message):
        shared_training(str(run), argument)


OF_A_BOARD = {
    "target": "latency=0.5", "target_device": "raspberry-pi-5", "target_threads": 2, "lut": "pi.json",
    "plan_seconds": 60.0, "target_batch": 4,
}  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ({}, OF_A_BOARD),
        ({"target": "latency=0.7"}, OF_A_BOARD),
        ({"target": "flops=0.5"}, {}),
        ({"target": "flops=0.5", "plan_seconds": 9.0}, {"plan_seconds": 9.0}),
        ({"target": "flops=0.5", "target_device": "raspberry-pi-5"}, OF_A_BOARD),
        ({"target_device": "cpu"}, {"target_device": "cpu", "plan_seconds": 60.0, "target_batch": 4}),
    ],
)
def test_a_runs_device_is_left_out_beside_another_target_or_device(
    run: Path, typed: dict, kept: dict
) -> None:
    config = json.loads((run / "config.json").read_text())
    edited(run, options={**config["options"], **OF_A_BOARD}, typed=[*config["typed"], *OF_A_BOARD])
    shared = shared_training(str(run), typed)
    inherited = {name: shared[name] for name in OF_A_BOARD if name != "target" and name in shared}
    assert inherited == {name: value for name, value in kept.items() if name != "target"}
    assert shared["target"] == typed.get("target", "latency=0.5")


def test_another_host_or_a_largest_drop_leaves_out_what_they_exclude(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    changes = {"target": "latency=0.5", "precisions": "fp32,int8", "target_threads": 2}
    edited(run, options={**config["options"], **changes}, typed=[*config["typed"], *changes])
    assert "precisions" not in shared_training(str(run), {"max_drop": 1.0})
    assert "precisions" not in shared_training(str(run), {"target": "flops=0.5"})
    shared = shared_training(str(run), {"host": {"name": "pi@desk"}})  # typed, so trusted
    assert shared["precisions"] == "fp32,int8" and "target_threads" not in shared


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
    result = absolute_paths({"data": "birds", "weights": "nowhere.pt", "epochs": 3})
    assert result == {"data": str(tmp_path / "birds"), "weights": "nowhere.pt", "epochs": 3}
    assert absolute_paths({"data": "digits"}) == {"data": "digits"}


# --- what nobody typed is left to each row ----------------------------------------------------------


@pytest.fixture
def criterion_run(training: dict[str, Any], importable: None, tmp_path: Path) -> Path:
    """A run by l1 whose training has a baseline; nothing but its epochs and data was typed."""
    typed = {k: v for k, v in training.items() if k in ("data", "target", "epochs", "batch_size")}
    options = TrainPruneOptions(model="compare_nets:tiny", method="l1", **typed)
    run, _, resolved = pipeline.begin(tmp_path / "l1", options, False, lambda *events: None)
    assert (resolved.reconstruct, resolved.lr, resolved.distill) == ("none", 0.02, True)
    run.save_tensors("baseline", run.build().state_dict())
    return run.path


@pytest.mark.parametrize(
    ("method", "reconstruct"),
    [("l1", "none"), ("thinet", "scale"), ("lasso", "kernel"), ("fpgm", "none"), ("taylor", "none")],
)
def test_each_method_fits_as_its_source_does(criterion_run: Path, method: str, reconstruct: str) -> None:
    training = shared_training(str(criterion_run), {})
    options = TrainPruneOptions(**{**training, "method": method})
    assert resolve(options, Run.open(criterion_run).data()).reconstruct == reconstruct


def test_the_learned_method_is_not_refused_for_what_nobody_typed(criterion_run: Path, tmp_path: Path) -> None:
    training = shared_training(str(criterion_run), {})
    options = TrainPruneOptions(**{**training, "method": "learned"})
    assert pipeline.begin(tmp_path / "learned", options, False, lambda *events: None)[2].reconstruct is None


def test_the_moments_get_their_own_rate_and_no_distillation(criterion_run: Path, tmp_path: Path) -> None:
    training = shared_training(str(criterion_run), {}, needs_baseline=False)
    row = {"method": "l1", "moment": "epoch:1", "init": "random", "prune_schedule": "one-shot"}
    options = pipeline.begin(
        tmp_path / "moment", TrainPruneOptions(**{**training, **row}), False, lambda *events: None
    )[2]
    assert (options.lr, options.distill, options.epochs) == (0.1, False, 3)


def test_another_machine_resolves_its_own_device_and_precision(criterion_run: Path) -> None:
    stored = json.loads((criterion_run / "config.json").read_text())["options"]
    edited(criterion_run, options={**stored, "device": "cuda", "precision": "bf16"})
    assert not {"device", "precision"} & shared_training(str(criterion_run), {}).keys()


def test_what_was_typed_for_the_run_is_handed_on(
    training: dict[str, Any], importable: None, tmp_path: Path
) -> None:
    options = TrainPruneOptions(
        model="compare_nets:tiny", method="l1", reconstruct="kernel", lr=0.3, **training
    )
    run = pipeline.begin(tmp_path / "typed", options, False, lambda *events: None)[0]
    run.save_tensors("baseline", run.build().state_dict())
    shared = shared_training(str(run.path), {})
    assert (shared["reconstruct"], shared["lr"], shared["device"]) == ("kernel", 0.3, "cpu")


def test_an_older_run_does_not_say_what_was_typed(criterion_run: Path) -> None:
    config = json.loads((criterion_run / "config.json").read_text())
    del config["typed"]
    (criterion_run / "config.json").write_text(json.dumps(config))
    shared = shared_training(str(criterion_run), {})
    assert "reconstruct" not in shared and shared["lr"] == 0.02


def test_hosts_that_are_typed_are_trusted_and_those_of_the_run_are_not(run: Path) -> None:
    """Typed ones take the place of all that the run has."""

    def host(name: str) -> dict[str, Any]:
        return {"name": name, "python": None, "folder": None, "ssh_options": []}

    options = json.loads((run / "config.json").read_text())["options"]
    stored = {"host": host("stored-one"), "more_hosts": [host("stored-two")], "target": "latency=0.5"}
    edited(run, options={**options, **stored}, typed=["host", "more_hosts", "target", "epochs"])
    with pytest.raises(RunError, match="type it again: --host stored-one"):
        shared_training(str(run), {})
    typed = {"host": host("typed-one"), "more_hosts": None}
    result = shared_training(str(run), typed)
    assert result["host"] == typed["host"] and result["more_hosts"] is None
