"""The pruner in a loop of the user's own."""

import copy
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import edgeprune
from edgeprune import methods
from edgeprune.errors import EdgePruneError, ModelError, TrainError
from edgeprune.importance import score
from edgeprune.learned.pruning_layer import PruningLayer
from edgeprune.runs.run import Run
from edgeprune.train_prune.defaults import resolve
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.pipeline import train_prune
from edgeprune.training import TrainOptions

EXAMPLE = torch.zeros(2, 3, 12, 12)


class Net(nn.Module):
    """Two coupled convolutions, one on its own, one behind a concatenation, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.inside, self.inner = nn.Conv2d(12, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.back, self.outer = nn.Conv2d(16, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.side = nn.Conv2d(12, 8, 1)
        self.linear = nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 3)."""
        x = self.norm(self.stem(x)).relu()
        x = (x + self.outer(self.back(self.inner(self.inside(x)).relu()))).relu()
        return self.linear(torch.cat([x, self.side(x).relu()], 1).mean((2, 3)))


def batches(seed: int = 0, count: int = 40) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        y = torch.randint(0, 3, (8,), generator=generator)
        yield torch.randn(8, 3, 12, 12, generator=generator) + y.view(-1, 1, 1, 1), y


def made(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net()


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    pruner: edgeprune.Pruner,
    steps: int,
    first: int = 0,
) -> list[dict[str, Any]]:
    numbers = []
    model.train()
    for number, (x, y) in enumerate(batches()):
        if not first <= number < first + steps:
            continue
        torch.manual_seed(number)
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        numbers.append(pruner.step(loss))
    return numbers


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)


SCHEDULED = {
    "soft": {"steps_per_epoch": 4},
    "iterative": {"prune_steps": 3},
    "regularised": {},
    "one-shot": {},
}


@pytest.mark.parametrize("method", methods.METHODS.registered())
def test_every_method_prunes_the_users_own_network(method: str) -> None:
    model = made()
    stem, parameters = model.stem, [*model.parameters()]
    optimizer = sgd(model)
    schedule = methods.get(method).schedule if method != "learned" else "one-shot"
    pruner = edgeprune.Pruner(
        model, EXAMPLE, method=method, target="flops=0.6", steps=12, optimizer=optimizer,
        batches=[*batches(count=3)], **SCHEDULED[schedule],
    )  # fmt: skip
    train(model, optimizer, pruner, 20)
    small = pruner.finish()
    assert small is model and type(small) is Net and model.stem is stem
    assert type(model.stem) is nn.Conv2d and not model._forward_hooks and not model._forward_pre_hooks
    assert all(any(p is q for q in parameters) for p in model.parameters())
    before, after = pruner.report.flops
    assert 0.4 < after / before <= 0.6 and pruner.report.fraction_got == after / before
    assert after == edgeprune.trace(model, EXAMPLE).flops()
    assert sorted(p.shape for p in model.parameters()) == sorted(
        optimizer.state[p]["momentum_buffer"].shape for p in model.parameters()
    )
    assert not any("parametrizations" in name for name in model.state_dict())
    assert model(torch.randn(5, 3, 12, 12)).shape == (5, 3)
    assert model(torch.randn(1, 3, 20, 20)).shape == (1, 3)


def test_what_training_gave_is_what_is_cut() -> None:
    """The pruned network computes what the unpruned one does with the dropped channels masked."""
    model = made()
    optimizer = sgd(model)
    pruner = edgeprune.Pruner(
        model, EXAMPLE, method="l1", prune_schedule="iterative", prune_steps=1, moment="start",
        target="flops=0.6", steps=8, optimizer=optimizer,
    )  # fmt: skip
    unpruned = copy.deepcopy(model).eval()
    graph = edgeprune.trace(unpruned, EXAMPLE)
    plan = edgeprune.select(graph, score(graph, "l1"), "flops=0.6")
    x = torch.randn(4, 3, 12, 12)
    masked = edgeprune.mask(unpruned, graph, plan)(x)
    torch.testing.assert_close(pruner.finish().eval()(x), masked, rtol=1e-4, atol=1e-5)


class Lion(torch.optim.Optimizer):
    """The sign of a mean of gradients: one tensor for each parameter."""

    def __init__(self, params: Any, lr: float = 1e-3) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Take one step."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                mean = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                p.add_((mean * 0.9 + p.grad * 0.1).sign(), alpha=-group["lr"])
                mean.mul_(0.99).add_(p.grad, alpha=0.01)


OPTIMIZERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "sgd": sgd,
    "adam": lambda m: torch.optim.Adam(m.parameters(), lr=1e-3, amsgrad=True),
    "adamw": lambda m: torch.optim.AdamW(m.parameters(), lr=1e-3),
    "rmsprop": lambda m: torch.optim.RMSprop(m.parameters(), lr=1e-3, momentum=0.9, centered=True),
    "adagrad": lambda m: torch.optim.Adagrad(m.parameters(), lr=1e-2),
    "radam": lambda m: torch.optim.RAdam(m.parameters(), lr=1e-3),
    "lion": lambda m: Lion(m.parameters()),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_optimizers_state_is_cut_with_the_channels(name: str) -> None:
    model = made()
    optimizer = OPTIMIZERS[name](model)
    pruner = edgeprune.Pruner(
        model, EXAMPLE, method="l1", moment="epoch:1", steps_per_epoch=5, target="flops=0.5",
        optimizer=optimizer,
    )  # fmt: skip
    train(model, optimizer, pruner, 4)
    held = {
        name: {key: value.clone() for key, value in optimizer.state[p].items() if isinstance(value, Tensor)}
        for name, p in model.named_parameters()
    }
    weight = model.inside.weight.detach().clone()
    pruner._removals.make(pruner.taken)  # what the fifth step would do, on the state of now
    kept = {group.name: [*group.kept] for group in pruner._removals.plans[0].groups}
    kept_out, kept_in = (
        kept["inside"],
        next(value for key, value in kept.items() if "stem" in key or "back" in key),
    )
    assert len(kept_out) < 16 or len(kept_in) < 12
    torch.testing.assert_close(model.inside.weight.detach(), weight[kept_out][:, kept_in])
    state = optimizer.state[model.inside.weight]
    for key, value in held["inside.weight"].items():
        expected = value[kept_out][:, kept_in] if value.dim() else value
        torch.testing.assert_close(state[key], expected, msg=key)
    assert optimizer.param_groups[0]["params"] == [*model.parameters()]
    pruner._removals.begin()
    train(model, optimizer, pruner, 3, first=4)


def test_a_state_of_another_shape_begins_anew_and_is_named() -> None:
    model = made()
    optimizer = torch.optim.Adafactor(model.parameters(), lr=1e-2)
    pruner = edgeprune.Pruner(
        model, EXAMPLE, method="l1", moment="epoch:1", steps_per_epoch=3, target="flops=0.5",
        optimizer=optimizer,
    )  # fmt: skip
    train(model, optimizer, pruner, 6)
    pruner.finish()
    assert any("begins anew" in note for note in pruner.report.notes)


def test_a_network_that_a_pruner_works_on_is_not_pruned_by_another() -> None:
    model = made()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    pruner = edgeprune.Pruner(model, EXAMPLE, steps=6, target="flops=0.5", optimizer=optimizer)
    for again in (edgeprune.prune, edgeprune.trace, partial(edgeprune.Pruner, steps=6, optimizer=optimizer)):
        with pytest.raises(ModelError, match=r"a Pruner is at work on this model: call its finish\(\) first"):
            again(model, EXAMPLE)
    train(model, optimizer, pruner, 6)
    pruner.finish()
    assert edgeprune.trace(model, EXAMPLE).groups


def test_groups_of_the_optimizer_and_its_schedule_stay() -> None:
    model = made()
    decayed = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": decayed}, {"params": plain, "weight_decay": 0.0}], lr=1e-2)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    pruner = edgeprune.Pruner(
        model, EXAMPLE, method="l1", prune_schedule="iterative", prune_steps=2, steps=6, optimizer=optimizer
    )
    for number, (x, y) in enumerate(batches(count=9)):
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        removed = pruner.step()["removed"]
        assert removed == (number == 2)  # the first half at once, the second after three steps
    pruner.finish()
    assert [len(group["params"]) for group in optimizer.param_groups] == [len(decayed), len(plain)]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [1e-2, 0.0]
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-5)


MODES: dict[str, Callable[[], Any]] = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
}


@pytest.mark.parametrize("mode", MODES)
def test_channels_go_in_whatever_mode_the_network_first_runs(mode: str) -> None:
    """What is due before the first step goes at the first run, which the loop makes in a mode of its own."""
    model, other = made(), made()
    optimizer = sgd(model)
    pruner = edgeprune.Pruner(model, EXAMPLE, method="l1", target="flops=0.5", optimizer=optimizer)
    with MODES[mode]():
        model(torch.randn(2, 3, 12, 12))
    train(model, optimizer, pruner, 2)
    assert pruner.finish() is model
    plain = edgeprune.prune(other, EXAMPLE, target="flops=0.5").report
    assert pruner.report.layers == plain.layers


# --- the learned method ---------------------------------------------------------------------------


def learned(model: nn.Module, optimizer: Any = None, **more: Any) -> edgeprune.Pruner:
    torch.manual_seed(7)
    return edgeprune.Pruner(model, EXAMPLE, target="flops=0.6", steps=12, optimizer=optimizer, **more)


def test_masks_act_on_the_networks_own_layers_and_leave_nothing() -> None:
    model = made()
    optimizer = sgd(model)
    names, structure = [*model.state_dict()], str(model)
    pruner = learned(model, optimizer)
    assert isinstance(model.inside, PruningLayer) and isinstance(model.inside, nn.Conv2d)
    assert [*model.state_dict()] == names
    numbers = train(model, optimizer, pruner, 12)
    assert [entry["removed"] for entry in numbers] == [False] * 11 + [True]
    assert numbers[0]["fraction"] > numbers[-2]["fraction"] and not pruner.pruning
    train(model, optimizer, pruner, 4, first=12)
    pruner.finish()
    assert type(model.inside) is nn.Conv2d and [*model.state_dict()] == names
    assert str(model).splitlines()[0] == structure.splitlines()[0]
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


def without_inside() -> Net:
    """One whose inner channels give next to nothing: they go first."""
    model = made()
    with torch.no_grad():
        model.inside.weight[2:] = 0
    return model


@pytest.mark.parametrize("allocation", [None, "sensitivity", "masks"])
@pytest.mark.parametrize("has_images", [True, False])
def test_what_a_layer_loses_is_by_its_worth_to_the_outputs(allocation: str | None, has_images: bool) -> None:
    """With images; without them masks say so, and a note asks for some, or an error where they are wanted."""
    options = {"allocation": allocation, "batches": list(batches())[:4] if has_images else None}
    model = without_inside()
    optimizer = sgd(model)
    if allocation == "sensitivity" and not has_images:
        with pytest.raises(TrainError, match="give batches="):
            learned(model, optimizer, **options)
        return
    pruner = learned(model, optimizer, **options)
    train(model, optimizer, pruner, 12)
    pruner.finish()
    notes = [note for note in pruner.report.notes if "masks alone" in note]
    assert bool(notes) == (allocation is None and not has_images)
    if has_images and allocation != "masks":
        assert (model.stem.out_channels, model.side.out_channels) == (12, 8)
        assert model.inside.out_channels < 12


def test_masks_move_once_for_each_step_of_the_optimizer() -> None:
    """Gradients of several batches are added up before a step: the masks move at the first of them."""
    model = made()
    optimizer = sgd(model)
    pruner = learned(model, optimizer)
    for number, (x, y) in enumerate(batches(count=12)):
        (F.cross_entropy(model(x), y) / 3).backward()
        if number % 3 == 2:
            optimizer.step()
            optimizer.zero_grad()
            pruner.step()
    assert pruner._removals.phase.analyser.iteration == 4  # type: ignore[union-attr]


def test_evaluation_between_steps_moves_nothing() -> None:
    model = made()
    optimizer = sgd(model)
    pruner = learned(model, optimizer)
    train(model, optimizer, pruner, 2)
    model.eval()
    x = torch.randn(4, 3, 12, 12)
    assert torch.equal(model(x), model(x))
    assert pruner._removals.phase.analyser.iteration == 2  # type: ignore[union-attr]


def test_the_phase_is_steered_by_hand_and_given_back() -> None:
    model = made()
    optimizer = sgd(model)
    pruner = learned(model, optimizer)
    train(model, optimizer, pruner, 2)
    pruner.interacting = 30.0
    assert train(model, optimizer, pruner, 1, first=2)[0]["interacting"] == 30.0
    pruner.auto()
    assert train(model, optimizer, pruner, 1, first=3)[0]["interacting"] != 30.0


def test_a_scaled_loss_gives_the_pruning_models_the_same_gradient() -> None:
    """A power of two scales exactly, so the run under a GradScaler is the run without one."""
    results = []
    for scaled in (False, True):
        model = made()
        optimizer = sgd(model)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=scaled)
        pruner = learned(model, optimizer, scaler=scaler if scaled else None)
        for number, (x, y) in enumerate(batches(count=14)):
            torch.manual_seed(number)
            scaler.scale(F.cross_entropy(model(x), y)).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            pruner.step()
        results.append(pruner.finish().state_dict())
    assert all(torch.equal(results[0][name], value) for name, value in results[1].items())


def test_an_average_of_the_weights_is_cut_along() -> None:
    model = made()
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.0)
    )
    optimizer = sgd(model)
    pruner = learned(model, optimizer, copies=[average])
    model.train()
    for number, (x, y) in enumerate(batches(count=16)):
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
        average.update_parameters(model)  # a decay of 0: the average is the model of now
        pruner.step()
        assert [p.shape for p in average.parameters()] == [p.shape for p in model.parameters()]
        if number == 11:
            for a, b in zip(average.module.parameters(), model.parameters(), strict=True):
                torch.testing.assert_close(a, b)
    pruner.finish()


# --- resuming -------------------------------------------------------------------------------------


STOPS = {
    "learned": (5,),
    "taylor": (5,),
    "sss": (5,),
    "bn-scale": (11,),
    "l2": (5,),
    "l1": (0, 1),
}
MORE_STOPS = {"learned": (0, 1, 12, 14), "taylor": (0,)}


def stops(of: dict[str, tuple[int, ...]]) -> list[tuple[str, int]]:
    return [(method, stop) for method, numbers in of.items() for stop in numbers]


@pytest.mark.parametrize(
    ("method", "stop"),
    [*stops(STOPS), *(pytest.param(*case, marks=pytest.mark.slow) for case in stops(MORE_STOPS))],
)
def test_a_resumed_run_ends_bit_identical(method: str, stop: int) -> None:
    def begin() -> tuple[Net, torch.optim.Optimizer, edgeprune.Pruner]:
        model = made()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        torch.manual_seed(7)
        more = SCHEDULED[methods.get(method).schedule] if method != "learned" else {}
        pruner = edgeprune.Pruner(
            model, EXAMPLE, method=method, target="flops=0.6", steps=12, optimizer=optimizer,
            batches=[*batches(count=2)], **more,
        )  # fmt: skip
        return model, optimizer, pruner

    model, optimizer, pruner = begin()
    train(model, optimizer, pruner, 17)
    expected = pruner.finish().state_dict()

    model, optimizer, pruner = begin()
    train(model, optimizer, pruner, stop)
    saved = copy.deepcopy((pruner.state_dict(), model.state_dict(), optimizer.state_dict()))
    torch.manual_seed(99)
    model, optimizer, pruner = begin()
    pruner.load_state_dict(saved[0])
    model.load_state_dict(saved[1])
    optimizer.load_state_dict(saved[2])
    train(model, optimizer, pruner, 17 - stop, first=stop)
    resumed = pruner.finish().state_dict()
    assert all(torch.equal(expected[name], value) for name, value in resumed.items())


def test_a_state_is_data(tmp_path: Any) -> None:
    model = made()
    optimizer = sgd(model)
    pruner = learned(model, optimizer)
    train(model, optimizer, pruner, 3)
    torch.save(pruner.state_dict(), tmp_path / "pruner.pt")
    state = torch.load(tmp_path / "pruner.pt", weights_only=True)
    again = made()
    other = learned(again, sgd(again))
    other.load_state_dict(state)
    assert other.taken == 3


@pytest.mark.usefixtures("here")
def test_the_keep_plan_is_that_of_train_prune(tmp_path: Path, options: TrainPruneOptions) -> None:
    """With the same seed, order of images and rates, a loop of one's own ends with the same masks."""
    train_prune(tmp_path / "run", options)
    run = Run.open(tmp_path / "run")
    ((graph, plan),) = run.removals.graphs()
    data, resolved = run.data(), resolve(options, run.data())
    rates = TrainOptions(lr=resolved.lr or 0, schedule=resolved.schedule or "")
    per_epoch = data.steps(8)
    torch.manual_seed(resolved.seed + 1)
    model = run.load("baseline").to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    pruner = edgeprune.Pruner(
        model,
        torch.zeros(1, *data.shape),
        target=options.target,
        steps=16,
        optimizer=optimizer,
        batches=lambda: data.batches("train", batch_size=8, limit=8 * resolved.score_batches),
        mask_images=4,
    )
    seed = sum(map(ord, "prune")) % 1000
    model.train()
    for epoch in range(-(-16 // per_epoch)):
        for x, y in data.train_batches(epoch, batch_size=8, seed=seed):
            torch.manual_seed(seed * 1_000_003 + pruner.taken)
            optimizer.param_groups[0]["lr"] = rates.rate_at(pruner.taken, per_epoch * 6)
            loss = F.cross_entropy(model(x.to(memory_format=torch.channels_last)).float(), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            pruner.step(loss)
    own = pruner.state_dict()["plans"]
    assert not plan.keep.all() and len(own) == 1
    assert [group["kept"] for group in own[0]["groups"]] == [
        group["kept"] for group in plan.to_dict(graph)["groups"]
    ]


# --- what makes no sense --------------------------------------------------------------------------


def reported_before_the_end() -> None:
    _ = learned(made()).report


def never_stepped() -> None:
    learned(made()).finish()


def finished_twice() -> None:
    model = made()
    pruner = edgeprune.Pruner(model, EXAMPLE, method="l1")
    pruner.finish()
    pruner.finish()


def stepped_after_the_end() -> None:
    pruner = edgeprune.Pruner(made(), EXAMPLE, method="l1")
    pruner.finish()
    pruner.step()


def another_models_optimizer() -> None:
    learned(made(), sgd(made()))


def no_optimizer() -> None:
    learned(made(), "adam")


def a_loss_that_is_nan() -> None:
    model = made()
    pruner = learned(model, sgd(model))
    pruner.step(float("nan"))


def a_loss_for_each_image() -> None:
    learned(made()).step(torch.zeros(3))


def a_loss_by_name() -> None:
    learned(made()).step({"loss": torch.tensor(1.0)})


def a_layer_that_was_replaced() -> None:
    model = made()
    learned(model)
    model.inside = nn.Conv2d(12, 16, 3, padding=1)
    model.train()(torch.zeros(2, 3, 12, 12))


def a_layer_that_was_replaced_by_a_wider_one() -> None:
    model = made()
    pruner = edgeprune.Pruner(model, EXAMPLE, method="l1", moment="epoch:1", steps_per_epoch=1)
    model.inside, model.inner = nn.Conv2d(12, 20, 3, padding=1), nn.BatchNorm2d(20)
    pruner.step()


def another_optimizer_trains() -> None:
    model = made()
    optimizer = sgd(model)
    pruner = edgeprune.Pruner(
        model, EXAMPLE, method="l1", moment="epoch:1", steps_per_epoch=1, optimizer=optimizer
    )
    sgd(model).step()
    pruner.step()


def two_pruners() -> None:
    model = made()
    learned(model)
    learned(model)


def replaced_parameters() -> None:
    model = made()
    pruner = edgeprune.Pruner(model, EXAMPLE, method="l1", moment="epoch:1", steps_per_epoch=1)
    for module in model.modules():
        for name, parameter in [*module._parameters.items()]:
            if parameter is not None:
                setattr(module, name, nn.Parameter(parameter.detach().clone()))
    pruner.step()


def a_penalty_without_an_optimizer() -> None:
    edgeprune.Pruner(made(), EXAMPLE, method="sss")


def images_that_are_missing() -> None:
    edgeprune.Pruner(made(), EXAMPLE, method="taylor")


def another_pruners_state() -> None:
    model = made()
    state = edgeprune.Pruner(made(), EXAMPLE, method="l1").state_dict()
    learned(model, sgd(model)).load_state_dict(state)


def no_state() -> None:
    learned(made()).load_state_dict({"a": 1})


MISTAKES: list[tuple[Callable[[], Any], str]] = [
    (reported_before_the_end, "call finish.. first"),
    (never_stepped, "step.. was never called"),
    (finished_twice, "this pruner has finished"),
    (stepped_after_the_end, "this pruner has finished"),
    (another_models_optimizer, "holds none of the model's parameters"),
    (no_optimizer, "torch.optim.Optimizer is wanted as optimizer, not str"),
    (a_loss_that_is_nan, "the loss became nan in step 1"),
    (a_loss_for_each_image, r"a loss of shape .3,. was given to step.. ?: give its mean or sum"),
    (a_loss_by_name, "a number is wanted as loss, not a dict"),
    (a_layer_that_was_replaced, "inside was replaced while masks are learned"),
    (
        a_layer_that_was_replaced_by_a_wider_one,
        "inside.weight has shape .20, 12, 3, 3., and had .16, 12, 3, 3.",
    ),
    (
        another_optimizer_trains,
        "step.. was called 1 times, but the optimizer that the pruner was given took no step",
    ),
    (two_pruners, "a Pruner is at work on this model"),
    (replaced_parameters, "parameters were replaced"),
    (a_penalty_without_an_optimizer, "give optimizer="),
    (images_that_are_missing, "give batches="),
    (another_pruners_state, "this state is of a pruner with method 'l1'"),
    (no_state, "not the state of a pruner"),
    (lambda: edgeprune.Pruner(made(), EXAMPLE, method="learnt"), "did you mean 'learned'"),
    (lambda: edgeprune.Pruner(made(), EXAMPLE, target="flops=2"), "flops"),
    (lambda: edgeprune.Pruner(made(), EXAMPLE, steps=0), "steps"),
    (lambda: edgeprune.Pruner(made(), EXAMPLE, method="l1", prune_step=3), "did you mean 'prune_steps'"),
    (lambda: edgeprune.Pruner(made(), EXAMPLE, method="l2"), "give steps_per_epoch="),
    (lambda: edgeprune.Pruner(made(), EXAMPLE, method="l1", moment="end"), "give total_steps="),
    (lambda: edgeprune.Pruner(made(), "image"), "example input"),
    (lambda: edgeprune.Pruner(Net, EXAMPLE), "is a class"),  # type: ignore[arg-type]
    (lambda: edgeprune.Pruner(nn.Sequential(nn.Linear(4, 4)), torch.zeros(1, 4)), "no convolution"),
    (lambda: edgeprune.Pruner(made(), EXAMPLE, plan="/nowhere.json"), "no such file"),
    (lambda: edgeprune.Pruner(made(), EXAMPLE, optimizer_state="keep"), "unknown optimizer_state"),
]


@pytest.mark.parametrize(("mistake", "words"), MISTAKES, ids=lambda value: getattr(value, "__name__", None))
def test_a_mistake_is_one_line(mistake: Callable[[], Any], words: str) -> None:
    with pytest.raises(EdgePruneError, match=words) as error:
        mistake()
    assert "\n" not in str(error.value)


def test_a_plan_takes_the_place_of_a_method() -> None:
    model = made()
    graph = edgeprune.trace(model, EXAMPLE)
    plan = edgeprune.select(graph, np.arange(graph.classes, dtype=float), "flops=0.5")
    pruner = edgeprune.Pruner(model, EXAMPLE, plan=plan.to_dict(graph))
    pruner.finish()
    assert pruner.report.flops[1] == graph.flops(plan.keep)


@pytest.mark.parametrize(("target", "counted"), [("params=0.5", "params=0.5"), ("latency=0.5", "flops=1")])
def test_what_is_counted_with_a_plan(target: str, counted: str) -> None:
    model = made()
    graph = edgeprune.trace(model, EXAMPLE)
    plan = edgeprune.select(graph, np.arange(graph.classes, dtype=float), "flops=0.5")
    pruner = edgeprune.Pruner(model, EXAMPLE, plan=plan.to_dict(graph), target=target)
    assert pruner.fraction == 1
    pruner.finish()
    assert pruner.report.target == counted
    count = graph.params if target.startswith("params") else graph.flops
    assert pruner.report.fraction_got == pytest.approx(count(plan.keep) / count())
