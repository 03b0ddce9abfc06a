"""The training loop: schedules, statistics, and going on where it stopped."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeprune import training
from edgeprune.data import DataBundle
from edgeprune.errors import EdgePruneError, TrainError
from edgeprune.models import build
from edgeprune.runs.run import Run
from edgeprune.tasks import Classification
from edgeprune.training import (
    Callback,
    Interrupted,
    Stage,
    TrainOptions,
    checkpoints,
    computing_in,
    rates,
    recalibrate,
    score_of,
    stage_log,
)

SMALL = TrainOptions(batch_size=8, lr=0.05)


@pytest.fixture
def data(small_data: DataBundle) -> DataBundle:
    """8 images a batch, some four batches an epoch."""
    return small_data


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.drop, self.linear = nn.Dropout(0.2), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.drop(self.norm(self.conv(x)).relu().mean((2, 3))))


def net() -> nn.Module:
    torch.manual_seed(0)
    return Net()


# --- schedules ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epoch", "factor"),
    [
        (0, 1.0),
        (24.99, 1.0),
        (25, 1.0),
        (29.99, 1.0),
        (30, 0.941**5),
        (39.99, 0.941**5),
        (40, 0.941**15),
        (50, 0.941**25),
        (60, 0.941**35),
        (70, 0.941**45),
        (80, 0.941**55),
        (90, 0.941**65),
        (99.99, 0.941**65),
        (100, 0.941**75),
    ],
)
def test_the_thesis_schedule(epoch: float, factor: float) -> None:
    assert rates.thesis_schedule(epoch / 100) == pytest.approx(factor)


def test_the_thesis_schedule_ends_at_about_one_percent() -> None:
    assert 0.01 < rates.thesis_schedule(1.0) < 0.02


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("cosine", [(0, 0.1), (0.025, 0.55), (0.05, 1.0), (0.525, 0.5), (1.0, 0.0)]),
        ("onecycle", [(0, 0.1), (0.05, 0.55), (0.1, 1.0), (0.55, 0.5), (1.0, 0.0)]),
        ("constant", [(0, 1.0), (0.5, 1.0), (1.0, 1.0)]),
    ],
)
def test_other_schedules(name: str, table: list[tuple[float, float]]) -> None:
    for done, factor in table:
        assert training.SCHEDULES[name](done) == pytest.approx(factor, abs=1e-12)


@pytest.mark.parametrize("name", training.SCHEDULES)
def test_schedules_stay_between_zero_and_one(name: str) -> None:
    values = [training.SCHEDULES[name](d / 1000) for d in range(1001)]
    assert min(values) >= 0 and max(values) <= 1 + 1e-12
    if name in ("cosine", "onecycle"):  # no jump
        assert max(abs(a - b) for a, b in zip(values, values[1:], strict=False)) < 0.02


def test_a_stage_takes_its_part_of_the_whole_schedule(data: DataBundle) -> None:
    options = TrainOptions(lr=2.0, schedule="onecycle", batch_size=8)
    alone = Stage("prune", net(), data, options, steps=10)
    assert alone.learning_rate(1) == pytest.approx(2.0)
    second = Stage("finetune", net(), data, options, steps=10, span=(10, 20))
    assert second.learning_rate(0) == pytest.approx(2.0 * 0.5 / 0.9)
    assert second.learning_rate(10) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("more", "message"),
    [({"schedule": "sine"}, "did you mean 'cosine'"), ({"precision": "int8"}, "known: bf16, fp16, fp32")],
)
def test_unknown_names(more: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainError, match=message):
        TrainOptions(**more)


def test_best_precision_is_one_of_the_known() -> None:
    assert training.best_precision("cpu") in ("fp32", "bf16")


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_computing_in(precision: str, dtype: torch.dtype) -> None:
    with computing_in(precision, "cpu"):
        assert nn.Linear(2, 2)(torch.zeros(1, 2)).dtype == dtype


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_trains(data: DataBundle, precision: str) -> None:
    model = net()
    before = copy.deepcopy(model.state_dict())
    Stage("s", model, data, TrainOptions(batch_size=8, precision=precision), steps=2).train()
    assert not torch.equal(before["linear.weight"], model.state_dict()["linear.weight"])
    assert all(v.dtype == before[k].dtype for k, v in model.state_dict().items())


# --- one step -------------------------------------------------------------------------------------


class Weights(nn.Module):
    """Logits are weights, whatever the image."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.weights.expand(len(x), 3)


def test_steps_are_sgd_by_hand(data: DataBundle) -> None:
    model, options = (
        Weights(),
        TrainOptions(batch_size=8, lr=0.5, momentum=0.9, weight_decay=0.1, schedule="constant"),
    )
    stage = Stage("s", model, data, options, steps=2)
    batches = list(data.train_batches(0, batch_size=8, seed=stage._seed()))
    stage.train()
    w, v = np.zeros(3), np.zeros(3)
    for _, labels in batches[:2]:
        p = np.exp(w) / np.exp(w).sum()
        gradient = p - np.bincount(labels.numpy(), minlength=3) / 8 + 0.1 * w
        v = 0.9 * v + gradient
        w = w - 0.5 * v
    assert model.weights.tolist() == pytest.approx(w.tolist(), abs=1e-6)


def test_stages_of_one_run_see_different_batches(data: DataBundle) -> None:
    names = ("baseline", "prune", "finetune")
    seeds = {Stage(n, net(), data, TrainOptions(seed=s), steps=1)._seed() for n in names for s in range(3)}
    assert len(seeds) == 9


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_a_number(tmp_path: Path, data: DataBundle, value: float) -> None:
    class Breaks(Net):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return super().forward(x) * (value if self.calls == 3 else 1)

    run = Run.create(tmp_path / "run", {"options": {}})
    model = Breaks()
    stage = Stage("prune", model, data, SMALL, steps=9, run=run.training)
    with pytest.raises(TrainError) as error:
        stage.train()
    assert "stage prune, step 2 of 9" in str(error.value) and "lower `lr` (it is 0.05)" in str(error.value)
    assert "--force" in str(error.value) and "\n" not in str(error.value)
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())
    assert "checkpoint" not in str(error.value)  # there is none
    stage = Stage("prune", Breaks(), data, SMALL, steps=9, run=run.training, checkpoint_seconds=0)
    with pytest.raises(TrainError, match=rf"; the last checkpoint is in {run.path}$"):
        stage.train()
    with pytest.raises(TrainError) as error:
        Stage("prune", Breaks(), data, SMALL, steps=9).train()
    assert "--force" not in str(error.value)


def test_a_loss_that_is_not_a_number_from_the_start(data: DataBundle) -> None:
    model = net()
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(TrainError, match=r"step 0 of 9: before any update .* for these images$"):
        Stage("prune", model, data, SMALL, steps=9).train()


def test_a_weight_that_is_not_finite_is_found_though_no_loss_shows_it(data: DataBundle) -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model.register_parameter("unread", nn.Parameter(torch.full((2,), float("inf"))))
    with pytest.raises(
        TrainError, match=r"^unread holds numbers that are not finite after step 4 .*precision=fp32"
    ):
        Stage("prune", model, data, SMALL, steps=9).train()


def test_a_batch_larger_than_the_training_set(data: DataBundle) -> None:
    seen: list[int] = []
    model = net()
    model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])) if model.training else None)
    Stage("s", model, data, TrainOptions(batch_size=1000), steps=3).train()
    assert seen == [data.sizes["train"]] * 3


# --- logging --------------------------------------------------------------------------------------


def test_what_is_logged(tmp_path: Path, data: DataBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_log, "REPORT_EVERY", 2)
    run = Run.create(tmp_path / "run", {"options": {}})
    calls: list[tuple[float, float, str]] = []
    scalars: list[str] = []
    stage = Stage(
        "baseline", net(), data, SMALL, steps=7, run=run.training,
        progress=lambda *call: calls.append(call), scalars=lambda tag, value, step: scalars.append(tag),
    )  # fmt: skip
    assert stage.per_epoch == 4
    stage.train()
    result = [(m["kind"], m["step"]) for m in run.training.metrics()]
    assert result == [("step", 2), ("step", 4), ("epoch", 4), ("step", 6), ("step", 7), ("epoch", 7)]
    assert all(m["stage"] == "baseline" for m in run.training.metrics())
    assert run.training.metrics()[0]["lr"] == stage.learning_rate(1)
    assert [c[:2] for c in calls] == [(n, 7) for n in (1, 2, 3, 4, 4, 5, 6, 7, 7)]  # again with the score
    assert calls[0][2].startswith("baseline epoch 1/2, loss ") and "val" not in calls[3][2]
    assert calls[4][2].startswith(f"{calls[3][2]}, val ") and "epoch 2/2" in calls[8][2]
    assert set(scalars) == {"baseline/loss", "baseline/lr", "baseline/step", "baseline/val_accuracy"} - {
        "baseline/step"
    }


# --- going on -------------------------------------------------------------------------------------


def files(run: Run) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in run.path.iterdir() if p.name != "checkpoint.safetensors"}


def whole_stage(run: Run, data: DataBundle, **more: Any) -> Stage:
    options = TrainOptions(batch_size=8, lr=0.05, nesterov=True, seed=3)
    return Stage(
        "prune", net(), data, options, steps=11, run=run.training, recalibrate_for_evaluation=True, **more
    )


@pytest.mark.parametrize("stop_at", [1, 4, 6, 11])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_stopped_stage_ends_as_one_that_was_not(
    tmp_path: Path, data: DataBundle, monkeypatch: pytest.MonkeyPatch, stop_at: int, threads: int
) -> None:
    torch.set_num_threads(threads)
    monkeypatch.setattr(stage_log, "REPORT_EVERY", 2)
    straight = whole_stage(Run.create(tmp_path / "straight", {"options": {}}), data)
    straight.train()
    run = Run.create(tmp_path / "stopped", {"options": {}})
    first = whole_stage(run, data)
    first.stop = lambda: first.step == stop_at
    with pytest.raises(Interrupted):
        first.train()
    run.training.log({"stage": "prune", "step": 99, "kind": "lost"})  # what came after the checkpoint
    second = whole_stage(run, data)
    second.train()
    assert second.step == 11
    for key, value in straight.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[key]), key
    assert files(run) == files(straight.run)  # type: ignore[arg-type]


def test_a_checkpoint_of_another_stage_is_not_taken(tmp_path: Path, data: DataBundle) -> None:
    run = Run.create(tmp_path / "run", {"options": {}})
    first = Stage("baseline", net(), data, SMALL, steps=3, run=run.training)
    first.train()
    first.save()
    second = Stage("prune", net(), data, SMALL, steps=3, run=run.training)
    second.checkpoints.load(second._restore)
    assert second.step == 0


def test_the_callback_is_saved_and_restored(tmp_path: Path, data: DataBundle) -> None:
    class Counts(Callback):
        calls = 0

        def after_step(self, step: int, loss: float = math.nan) -> dict[str, Any]:
            self.calls += 1
            return {"calls": self.calls}

        def state(self) -> dict[str, Any]:
            return {"calls": self.calls}

        def restore(self, state: dict[str, Any]) -> None:
            self.calls = state["calls"]

    run = Run.create(tmp_path / "run", {"options": {}})
    stage = Stage("prune", net(), data, SMALL, steps=5, run=run.training, callback=Counts())
    stage.stop = lambda: stage.step == 3
    with pytest.raises(Interrupted):
        stage.train()
    counts = Counts()
    Stage("prune", net(), data, SMALL, steps=5, run=run.training, callback=counts).train()
    assert counts.calls == 5 and run.training.metrics()[-2]["calls"] == 5


def test_a_stage_without_a_run_stops_too(data: DataBundle) -> None:
    stage = Stage("prune", net(), data, SMALL, steps=5, stop=lambda: True)
    with pytest.raises(Interrupted):
        stage.train()
    assert stage.step == 1


@pytest.mark.parametrize(("seconds", "saves"), [("0", 5), ("2", 2), ("1e9", 0)])
def test_checkpoints_come_by_the_clock(
    tmp_path: Path, data: DataBundle, monkeypatch: pytest.MonkeyPatch, seconds: str, saves: int
) -> None:
    """The clock moves a second each time it is asked: when the stage is made, and after each step."""
    monkeypatch.setenv("EDGEPRUNE_CHECKPOINT_SECONDS", seconds)
    ticks = iter(range(1000))
    requests: list[int] = []
    stage_clock: Callable[[], float] = lambda: float(next(ticks))  # noqa: E731
    monkeypatch.setattr(checkpoints.time, "monotonic", stage_clock)
    monkeypatch.setattr(Stage, "save", lambda self: requests.append(self.step))
    Stage("s", net(), data, SMALL, steps=5, run=Run.create(tmp_path / "r", {"options": {}}).training).train()
    assert len(requests) == saves


def test_a_full_disk_keeps_the_last_checkpoint(
    tmp_path: Path, data: DataBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.create(tmp_path / "run", {"options": {}})
    stage = Stage("s", net(), data, SMALL, steps=5, run=run.training, checkpoint_seconds=0.0)
    real = Path.write_bytes

    def fill(self: Path, content: bytes) -> int:
        if stage.step < 3:
            return real(self, content)
        real(self, content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(EdgePruneError, match="the disk is full: free some space"):
        stage.train()
    checkpoint = run.training.load_checkpoint("s")
    assert checkpoint is not None and checkpoint[1]["step"] == 2
    assert not [p for p in run.path.iterdir() if p.name.endswith(".part")]


# --- evaluation -----------------------------------------------------------------------------------


def test_accuracy_by_hand() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.9)).train()
    x = torch.tensor([[3.0, 1, 2], [1, 2, 3], [1, 3, 2], [9, 8, 7]]).view(4, 3, 1, 1)
    batches = [(x[:3], torch.tensor([0, 1, 1])), (x[3:], torch.tensor([0]))]
    assert score_of(model, batches, Classification()) == 3 / 4
    assert model.training
    assert score_of(model.eval(), batches, Classification()) == 3 / 4 and not model.training
    assert score_of(model, [], Classification()) == 0


@pytest.mark.parametrize(("batches", "used"), [(2, 2), (50, 4)])  # there are only four
def test_recalibrate_is_the_average_over_batches(data: DataBundle, batches: int, used: int) -> None:
    model = net().eval()
    model.norm.running_mean.fill_(5)
    weights = copy.deepcopy(dict(model.named_parameters()))
    recalibrate(model, data, batches=batches, batch_size=8)
    seen = list(data.train_batches(0, batch_size=8, seed=987_654_321))
    assert len(seen) == 4
    with torch.no_grad():
        maps = [model.conv(x) for x, _ in seen[:used]]
    mean = torch.stack([m.mean((0, 2, 3)) for m in maps]).mean(0)
    var = torch.stack([m.var((0, 2, 3)) for m in maps]).mean(0)
    assert torch.allclose(model.norm.running_mean, mean, atol=1e-6)
    assert torch.allclose(model.norm.running_var, var, rtol=1e-5)
    assert model.norm.momentum == 0.1 and not model.training
    assert all(torch.equal(v, weights[k]) for k, v in model.named_parameters())


def test_recalibrate_leaves_masks_and_pruning_models_alone(data: DataBundle) -> None:
    from edgeprune.learned.analyser import OutputAnalyser

    analyser = OutputAnalyser(build("resnet20", num_classes=3, width=4), torch.zeros(1, 3, 8, 8))
    before = {k: v.clone() for k, v in analyser.state_dict().items()}
    recalibrate(analyser, data, batches=2, batch_size=8)
    after = analyser.state_dict()
    moved = {k for k, v in before.items() if not torch.equal(v, after[k])}
    norms = {n for n, m in analyser.model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert moved == {
        f"model.{n}.{t}" for n in norms for t in ("running_mean", "running_var", "num_batches_tracked")
    }
    assert analyser.pruning and analyser.iteration == 0


def test_recalibrate_without_batch_norm(data: DataBundle) -> None:
    recalibrate(Weights(), data)


def test_the_loss_falls(data: DataBundle) -> None:
    stage = Stage("s", net(), data, TrainOptions(batch_size=8, lr=0.1, schedule="constant"), steps=80)
    losses: list[float] = []
    stage.log.scalars = lambda tag, value, step: losses.append(value) if tag == "s/loss" else None
    stage.train()
    assert losses[-1] < math.log(3) * 0.7
    assert score_of(stage.model, data.batches("test"), Classification()) > 0.8


def test_fp16_scales_the_loss_and_goes_on_where_it_stopped(tmp_path: Path, data: DataBundle) -> None:
    options = TrainOptions(batch_size=8, lr=0.05, precision="fp16")
    straight = Stage(
        "s", net(), data, options, steps=4, run=Run.create(tmp_path / "a", {"options": {}}).training
    )
    straight.train()
    assert straight.updater.scaler.get_scale() == 1024.0
    run = Run.create(tmp_path / "b", {"options": {}})
    first = Stage("s", net(), data, options, steps=4, run=run.training)
    first.stop = lambda: first.step == 2
    with pytest.raises(Interrupted):
        first.train()
    second = Stage("s", net(), data, options, steps=4, run=run.training)
    second.train()
    assert second.updater.scaler.state_dict() == straight.updater.scaler.state_dict()
    for key, value in straight.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[key]), key


def test_the_average_is_what_a_stage_ends_with(data: DataBundle) -> None:
    plain, averaged = net(), net()
    Stage("s", plain, data, SMALL, steps=6).train()
    stage = Stage("s", averaged, data, TrainOptions(batch_size=8, lr=0.05, ema=0.99), steps=6)
    stage.train()
    assert stage.updater.average is not None
    held = stage.updater.average.tensors[
        "linear.weight"
    ]  # swapped: the average's place now holds the last weights
    assert torch.equal(held, plain.state_dict()["linear.weight"])
    assert not torch.equal(averaged.state_dict()["linear.weight"], held)


def test_a_teacher_changes_what_is_learnt_and_stays_as_it_is(data: DataBundle) -> None:
    teacher, alone, taught = net(), net(), net()
    with torch.no_grad():
        teacher.linear.weight.mul_(3)
    before = copy.deepcopy(teacher.state_dict())
    Stage("s", alone, data, SMALL, steps=2).train()
    Stage("s", taught, data, SMALL, steps=2, teacher=teacher).train()
    assert not torch.equal(alone.state_dict()["linear.weight"], taught.state_dict()["linear.weight"])
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())


def test_given_momentum_is_used(data: DataBundle) -> None:
    model, other = net(), net()
    start = torch.full_like(model.linear.weight, 0.5)
    Stage("s", model, data, SMALL, steps=1, momentum={"linear.weight": start}).train()
    stage = Stage("s", other, data, SMALL, steps=1)
    stage.train()
    moved = other.state_dict()["linear.weight"] - model.state_dict()["linear.weight"]
    assert torch.allclose(moved, torch.full_like(moved, stage.learning_rate(0) * 0.9 * 0.5), atol=1e-5)
    assert stage.momenta().keys() == dict(other.named_parameters()).keys()


def test_a_callback_may_end_a_stage(data: DataBundle) -> None:
    class Enough(Callback):
        taken = 0

        def after_step(self, step: int, loss: float = math.nan) -> dict[str, Any]:
            self.taken = step
            return {}

        def finished(self) -> bool:
            return self.taken == 3

    stage = Stage("s", net(), data, SMALL, steps=9, callback=Enough())
    stage.train()
    assert stage.step == 3


# --- gradient accumulation ------------------------------------------------------------------------


class Kept(Callback):
    """Keeps the gradients of each step."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.gradients = model, []  # type: ignore[var-annotated]

    def before_update(self, rate: float) -> None:
        self.gradients.append([p.grad.clone() for p in self.model.parameters()])


def without_norm() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))


@pytest.mark.parametrize("parts", [2, 3, 8, 50])
def test_accumulated_gradients_are_the_mean_over_the_batch(data: DataBundle, parts: int) -> None:
    model = without_norm()
    kept = Kept(model)
    stage = Stage("own", model, data, replace(SMALL, accumulate=parts), 1, callback=kept)
    x, y = next(data.train_batches(0, batch_size=8, seed=stage._seed()))
    each = []
    for image, label in zip(x.split(1), y.split(1), strict=True):  # one image at a time, by torch itself
        reference = without_norm()
        loss = nn.functional.cross_entropy(reference(image), label)
        each.append(torch.autograd.grad(loss, list(reference.parameters())))
    stage.train()
    for gradient, *singles in zip(kept.gradients[0], *each, strict=True):
        assert torch.allclose(gradient, torch.stack(singles).mean(0), atol=1e-6)


def test_accumulation_trains_as_the_batch_does_and_reports_its_loss(data: DataBundle) -> None:
    def trained(parts: int) -> tuple[list[float], nn.Module]:
        model, losses = without_norm(), []

        class Losses(Callback):
            def after_step(self, step: int, loss: float = math.nan) -> dict[str, Any]:
                losses.append(loss)
                return {}

        Stage("own", model, data, replace(SMALL, accumulate=parts), 6, callback=Losses()).train()
        return losses, model

    (losses, model), (in_parts, same) = trained(1), trained(4)
    assert in_parts == pytest.approx(losses, rel=1e-4)
    for value, other in zip(model.parameters(), same.parameters(), strict=True):
        assert torch.allclose(value, other, atol=1e-5)
