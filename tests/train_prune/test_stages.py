"""Every method and schedule through a whole run; killed between removals, resumed to the same bytes."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from edgeprune import methods, training
from edgeprune.errors import EdgePruneError, TrainError
from edgeprune.runs.removal_files import RemovalFiles
from edgeprune.runs.run import Run
from edgeprune.runs.training_state import TrainingState
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.pipeline import train_prune

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture(scope="session")
def short(
    options: TrainPruneOptions, place: Path, tmp_path_factory: pytest.TempPathFactory
) -> TrainPruneOptions:
    """Options with a baseline that is trained once for all."""
    import sys

    sys.path.insert(0, str(place))
    try:
        run = tmp_path_factory.mktemp("baseline") / "run"
        train_prune(run, replace(options, epochs=1, prune_iterations=1))
    finally:
        sys.path.remove(str(place))
    return replace(
        options, baseline_epochs=None, weights=str(run / "baseline.safetensors"), epochs=4,
        prune_iterations=12, method="l1", prune_steps=3,
    )  # fmt: skip


@pytest.mark.parametrize("method", [m for m in methods.names() if m != "learned"])
def test_every_method_ends_on_its_target(tmp_path: Path, short: TrainPruneOptions, method: str) -> None:
    summary = train_prune(tmp_path / "r", replace(short, method=method))
    assert summary["flops_fraction"] == pytest.approx(0.6, abs=0.12)  # classes of a tiny net are large
    assert summary["flops_fraction"] <= 0.6
    run = Run.open(tmp_path / "r")
    model = run.load()
    assert sum(p.numel() for p in model.parameters()) == summary["models"]["pruned"]["params"]
    assert not list(run.path.glob("removed-*")) and not run.has("checkpoint.safetensors")
    assert len(run.removals.plans_and_steps()[0]) == (3 if methods.get(method).schedule == "iterative" else 1)


@pytest.mark.parametrize("schedule", methods.SCHEDULES)
@pytest.mark.parametrize("state", ["reset", "slice"])
def test_every_schedule_trains_every_parameter_to_the_end(
    tmp_path: Path, short: TrainPruneOptions, schedule: str, state: str
) -> None:
    options = replace(short, prune_schedule=schedule, optimizer_state=state)
    train_prune(tmp_path / "r", options)
    run = Run.open(tmp_path / "r")
    settled, pruned = run.load("settled"), run.load("pruned")
    for (name, before), (_, after) in zip(settled.named_parameters(), pruned.named_parameters(), strict=True):
        assert not torch.equal(before, after), name


def test_steps_are_shared_out_as_the_course_says(tmp_path: Path, short: TrainPruneOptions) -> None:
    options = replace(short, prune_schedule="iterative", moment="epoch:1")
    train_prune(tmp_path / "r", options)
    run = Run.open(tmp_path / "r")
    per_epoch = run.data().steps(8)
    assert run.removals.plans_and_steps()[1] == (per_epoch, per_epoch + 4, per_epoch + 8)
    stages = {m["stage"]: m["step"] for m in run.training.metrics()}
    assert stages == {
        "prune": per_epoch,
        "prune 2": 4,
        "prune 3": 4,
        "finetune": 4 * per_epoch - per_epoch - 8,
    }
    rates = [m["lr"] for m in run.training.metrics() if m["stage"] == "finetune" and m["kind"] == "step"]
    assert rates[-1] < 0.02 * max(
        m.get("lr", 0) for m in run.training.metrics()
    )  # one schedule over all stages


def test_pruning_when_the_loss_levels_off(tmp_path: Path, short: TrainPruneOptions) -> None:
    train_prune(tmp_path / "r", replace(short, moment="plateau", epochs=8))
    run = Run.open(tmp_path / "r")
    plans, steps = run.removals.plans_and_steps()
    per_epoch = run.data().steps(8)
    assert len(plans) == 2 and steps[0] == steps[1]  # the lead-in is a removal of nothing
    assert 0 < steps[0] <= round(0.8 * 8 * per_epoch)


def test_pruning_at_the_very_end_is_not_trained_after(tmp_path: Path, short: TrainPruneOptions) -> None:
    summary = train_prune(tmp_path / "r", replace(short, moment="end"))
    run = Run.open(tmp_path / "r")
    settled, pruned = run.load("settled").state_dict(), run.load("pruned").state_dict()
    assert all(
        torch.equal(settled[k], v) for k, v in pruned.items() if "running" not in k and "num_" not in k
    )
    assert summary["flops_fraction"] <= 0.6


def test_pruning_in_the_first_training(tmp_path: Path, short: TrainPruneOptions) -> None:
    options = replace(short, weights=None, init="random", moment="epoch:2", lr=0.05)
    summary = train_prune(tmp_path / "r", options)
    run = Run.open(tmp_path / "r")
    assert run.config["options"]["distill"] is False
    assert {m["stage"] for m in run.training.metrics()} == {"prune", "finetune"}
    assert summary["models"]["pruned"]["accuracy"] > summary["models"]["baseline"]["accuracy"]


def test_distillation_is_on_unless_told_otherwise(
    tmp_path: Path, short: TrainPruneOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught: list[tuple[str, bool]] = []
    real = training.Stage.train

    def train(stage: training.Stage) -> None:
        taught.append((stage.name, stage.teacher is not None))
        real(stage)

    monkeypatch.setattr(training.Stage, "train", train)
    train_prune(tmp_path / "a", short)
    train_prune(tmp_path / "b", replace(short, distill=False))
    assert taught == [("prune", False), ("finetune", True), ("prune", False), ("finetune", False)]


def test_what_recovers_accuracy_takes_part(tmp_path: Path, short: TrainPruneOptions) -> None:
    """Each option changes the result, and none of them breaks a run."""
    result = {}
    for name, more in {
        "plain": {}, "ema": {"ema": 0.9}, "smooth": {"label_smoothing": 0.1}, "nesterov": {"nesterov": True},
        "alone": {"distill": False}, "onecycle": {"schedule": "onecycle"}, "compensated": {"compensate": True},
        "merged": {"reconstruct": "merge"}, "folded": {"reconstruct": "fold"},
    }.items():  # fmt: skip
        train_prune(tmp_path / name, replace(short, **more))
        result[name] = (tmp_path / name / "pruned.safetensors").read_bytes()
    assert len(set(result.values())) == len(result)


class Killed(Exception):
    """Stands for a process that dies at once."""


@pytest.mark.parametrize(
    "schedule",
    ["iterative", "soft", *(pytest.param(name, marks=pytest.mark.slow) for name in ("sss", "plateau"))],
)
def test_killed_between_and_within_removals_a_run_ends_bit_identical(
    tmp_path: Path, short: TrainPruneOptions, monkeypatch: pytest.MonkeyPatch, schedule: str
) -> None:
    monkeypatch.setenv("EDGEPRUNE_CHECKPOINT_SECONDS", "0")
    more: dict[str, Any] = {
        "sss": {"method": "sss"}, "plateau": {"moment": "plateau"}, "soft": {"prune_schedule": "soft"},
        "iterative": {"prune_schedule": "iterative", "optimizer_state": "slice", "compensate": True},
    }[schedule]  # fmt: skip
    options = replace(short, ema=0.9, **more)
    train_prune(tmp_path / "straight", options)
    calls, deaths = 0, {5, 9, 14, 16, 23}

    def dying(owner: type, name: str) -> None:
        real = getattr(owner, name)

        def write(files: object, *args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls in deaths:
                raise Killed
            return real(files, *args, **kwargs)

        monkeypatch.setattr(owner, name, write)

    dying(TrainingState, "save_checkpoint")
    dying(Run, "save_tensors")
    for name in ("save", "save_plans"):
        dying(RemovalFiles, name)
    out, died = tmp_path / "killed", 0
    for attempt in range(10):
        try:
            train_prune(out, options if attempt == 0 else None, resume=attempt > 0)
            break
        except Killed:
            died += 1
    assert died == len(deaths)
    for name in ("settled", "pruned"):
        straight = (tmp_path / "straight" / f"{name}.safetensors").read_bytes()
        assert (out / f"{name}.safetensors").read_bytes() == straight, name
    for name in ("model.json", "metrics.jsonl", "summary.json"):
        assert (out / name).read_bytes() == (tmp_path / "straight" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"method": "l11"}, "did you mean 'l1'"),
        ({"prune_schedule": "hard"}, "prune-schedule"),
        ({"method": "learned", "prune_schedule": "soft"}, "`prune_schedule` is for criteria"),
        ({"method": "learned", "moment": "end"}, "`moment` is for criteria"),
        ({"method": "sss", "prune_schedule": "one-shot"}, "no schedule but regularised"),
        ({"moment": "late"}, "write start, epoch:N, plateau or end"),
        ({"moment": "epoch:5"}, "beyond the"),
        ({"moment": "end", "prune_schedule": "soft"}, "`moment=end` leaves no steps"),
        ({"prune_steps": 0}, "`prune_steps` must be at least 1"),
        ({"score_batches": 0}, "`score_batches` must be at least 1"),
        ({"switch": 1.5}, "`switch` must be"),
        ({"shrink": -1.0}, "`shrink` must be"),
        ({"shrink": math.nan}, "`shrink` must be"),
        ({"ema": 1.0}, "`ema` must be"),
        ({"label_smoothing": 1.0}, "`label_smoothing` must be"),
        ({"reduction": "median"}, "reduction"),
        ({"method": "random", "reduction": "max"}, "random takes no `reduction`"),
        ({"optimizer_state": "keep"}, "optimizer-state"),
        ({"reconstruct": "all"}, "reconstruct"),
        ({"init": "zero"}, "init"),
        ({"init": "random"}, "`init=random` and `weights` exclude each other"),
        ({"init": "random", "weights": None, "distill": True}, "no baseline to distil from"),
    ],
)
def test_options_that_make_no_sense(
    tmp_path: Path, short: TrainPruneOptions, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(EdgePruneError, match=message) as error:
        train_prune(tmp_path / "r", replace(short, **more))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "r").exists()


def test_scores_that_are_no_numbers_name_the_layer(tmp_path: Path, short: TrainPruneOptions) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(short.weights or "")
    state["inside.weight"][3] = float("nan")
    save_file(state, tmp_path / "nan.safetensors")
    with pytest.raises(EdgePruneError, match="inside"):
        train_prune(tmp_path / "r", replace(short, weights=str(tmp_path / "nan.safetensors")))
    summary = tmp_path / "r" / "summary.json"
    assert not summary.exists()


def test_a_learned_run_of_an_earlier_version_is_fine_tuned_without_the_state_of_its_removal(
    tmp_path: Path, short: TrainPruneOptions
) -> None:
    train_prune(tmp_path / "r", replace(short, method="learned"))
    pruned = (tmp_path / "r" / "pruned.safetensors").read_bytes()
    assert not list((tmp_path / "r").glob("removed-*"))
    for name in ("pruned.safetensors", "summary.json"):
        (tmp_path / "r" / name).unlink()
    train_prune(tmp_path / "r", resume=True)
    assert (tmp_path / "r" / "pruned.safetensors").read_bytes() == pruned


def test_a_criterions_run_is_not_steered(tmp_path: Path, short: TrainPruneOptions) -> None:
    from edgeprune.errors import RunError
    from edgeprune.train_prune.steering import send_command

    train_prune(tmp_path / "r", replace(short, epochs=1, prune_iterations=1))
    with pytest.raises(RunError, match="prunes by l1"):
        send_command(tmp_path / "r", "+100")


def test_the_plans_of_a_run_are_json(tmp_path: Path, short: TrainPruneOptions) -> None:
    train_prune(tmp_path / "r", replace(short, prune_schedule="iterative"))
    record = json.loads((tmp_path / "r" / "model.json").read_text())
    assert len(record["plans"]) == len(record["steps"]) == 3
    graphs = [graph.flops() for graph, _ in Run.open(tmp_path / "r").removals.graphs()]
    assert graphs == sorted(graphs, reverse=True) and len(set(graphs)) == 3
    assert isinstance(TrainError("x"), EdgePruneError)
