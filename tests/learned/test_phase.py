"""The pruning phase: what the controller and a second terminal do to `interacting`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.budget import Budget
from edgeprune.data import DataBundle
from edgeprune.learned.allocation import Allocation
from edgeprune.learned.analyser import OutputAnalyser
from edgeprune.learned.phase import PruningPhase
from edgeprune.learned.pruning_model import PruningModel
from edgeprune.runs.run import Run
from edgeprune.runs.training_state import TrainingState
from edgeprune.training import TrainOptions
from edgeprune.training.loop import Stage


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", {"options": {}})


@pytest.fixture
def analyser(plain: nn.Module) -> OutputAnalyser:
    return OutputAnalyser(plain, torch.zeros(1, 3, 16, 16), max_iter=1000)


def test_without_a_target_only_the_user_moves_interacting(analyser: OutputAnalyser, run: Run) -> None:
    phase = PruningPhase(analyser, None, run.training)
    for step in range(1, 4):
        assert phase.after_step(step)["interacting"] == 0
    run.training.steer({"interacting": 200.0, "relative": True})
    assert phase.after_step(4)["interacting"] == 200
    assert phase.after_step(5)["interacting"] == 200


def test_what_is_logged(analyser: OutputAnalyser) -> None:
    record = PruningPhase(analyser, Budget.of("flops=0.5", analyser.graph)).after_step(1)
    original = analyser.graph
    assert record["params"] == original.params() and record["flops"] == original.flops()
    assert record["params_fraction"] == record["flops_fraction"] == record["mask_mean"] == 1
    assert record["manual"] is False
    json.dumps(record)


def test_the_controller_sets_interacting_from_the_gap(analyser: OutputAnalyser) -> None:
    phase = PruningPhase(analyser, Budget.of("params=0.5", analyser.graph))
    phase.after_step(1)
    assert phase.controller is not None and phase.controller.start == 1
    # At 375 of 1,000 a target of 0.5 wants 0.75; all are on, so the gap is 0.25.
    before = phase.controller.progress
    phase.after_step(375)
    assert phase.controller.progress == pytest.approx(before + 0.05 * 0.25)
    expected = phase.controller.progress + 0.3 * 0.25
    assert (375 + analyser.interacting) / 1000 == pytest.approx(expected)


def test_a_user_who_steers_takes_over_until_told_otherwise(analyser: OutputAnalyser, run: Run) -> None:
    phase = PruningPhase(analyser, Budget.of("flops=0.5", analyser.graph), run.training)
    phase.after_step(1)
    run.training.steer({"interacting": 500.0, "relative": False})
    run.training.steer({"interacting": -100.0, "relative": True})
    analyser.iteration = 10
    assert phase.after_step(10) | {"manual": True, "interacting": 400.0} == phase.after_step(11)
    assert analyser.interacting == 400
    run.training.steer({"auto": True})
    assert phase.after_step(12)["manual"] is False
    # It takes over from where the user left off: progress (10 + 400) / 1000 and a little for the gap.
    assert phase.controller is not None
    assert phase.controller.progress == pytest.approx(0.41, abs=0.01)
    assert phase.after_step(13)["manual"] is False


def test_another_target_is_followed_from_where_the_phase_is(analyser: OutputAnalyser, run: Run) -> None:
    def budget_for(target: str) -> Budget | None:
        return None if target == "flops=0.001" else Budget.of(target, analyser.graph)

    phase = PruningPhase(analyser, Budget.of("flops=0.5", analyser.graph), run.training, budget_for)
    assert "target" not in phase.after_step(1) and phase.controller is not None
    run.training.steer({"interacting": 500.0, "relative": False})
    assert phase.after_step(2)["manual"] is True
    progress = phase.controller.progress
    run.training.steer({"target": "params=0.3"})
    values = phase.after_step(3)
    assert (values["target"], values["manual"]) == ("params=0.3", False)
    assert phase.controller.target == pytest.approx(0.3, abs=1e-6)
    assert phase.controller.progress == pytest.approx(progress, abs=0.01)
    run.training.steer({"target": "flops=0.001"})  # cannot be met: it stays as it is
    assert phase.after_step(4)["target"] == "params=0.3"
    resumed = PruningPhase(analyser, Budget.of("flops=0.5", analyser.graph), run.training, budget_for)
    resumed.restore(json.loads(json.dumps(phase.state())))
    assert resumed.target == "params=0.3" and resumed.state() == phase.state()
    assert resumed.budget is not None and [str(item) for item in resumed.budget.targets] == ["params=0.3"]
    assert resumed.after_step(5)["target"] == "params=0.3"


def test_commands_are_read_when_there_are_new_ones(
    analyser: OutputAnalyser, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    phase = PruningPhase(analyser, None, run.training)
    run.training.steer({"interacting": 5.0, "relative": False})
    phase.after_step(1)
    monkeypatch.setattr(TrainingState, "steering", lambda self: pytest.fail("read again without need"))
    phase.after_step(2)
    assert analyser.interacting == 5


@pytest.mark.parametrize("target", [None, "flops=0.5"])
def test_state_goes_through_json_and_back(
    analyser: OutputAnalyser, plain: nn.Module, run: Run, target: str | None
) -> None:
    budget = None if target is None else Budget.of(target, analyser.graph)
    phase = PruningPhase(analyser, budget, run.training)
    run.training.steer({"interacting": 7.0, "relative": True})
    for step in range(1, 4):
        analyser.iteration = step
        phase.after_step(step)
    other = OutputAnalyser(plain, torch.zeros(1, 3, 16, 16), max_iter=1000)
    resumed = PruningPhase(other, budget, run.training)
    resumed.restore(json.loads(json.dumps(phase.state())))
    assert resumed.state() == phase.state()
    assert (other.iteration, other.interacting) == (3, 7.0)
    run.training.steer({"interacting": 1.0, "relative": True})
    assert phase.after_step(4) == resumed.after_step(4)
    assert other.interacting == 8  # the old command was not taken twice


@pytest.mark.parametrize("kind", ["flops", "params"])
def test_a_real_phase_comes_close_to_its_target(plain: nn.Module, images: Tensor, kind: str) -> None:
    torch.manual_seed(0)
    analyser = OutputAnalyser(plain, torch.zeros(1, 3, 16, 16), max_iter=80)
    phase = PruningPhase(analyser, Budget.of(f"{kind}=0.6", analyser.graph))
    optimizer = torch.optim.SGD(analyser.parameters(), lr=0.01)
    analyser.train()
    for step in range(1, 81):
        optimizer.zero_grad()
        F.cross_entropy(analyser(images), torch.arange(8) % 5).backward()
        optimizer.step()
        phase.after_step(step)
    # One of the eight channels that are judged is worth about a tenth.
    assert phase.fraction() == pytest.approx(0.6, abs=0.11)
    analyser.freeze(Budget.of(f"{kind}=0.6", analyser.graph))
    assert 0.5 < phase.fraction() <= 0.6


class WithoutNorm(nn.Module):
    """No BatchNorm, so that a batch in parts is the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1)
        self.linear = nn.Linear(12 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        return self.linear(F.adaptive_avg_pool2d(F.relu(self.conv2(x)), 2).flatten(1))


def trained_in_parts(data: DataBundle, parts: int, steps: int = 6, **more: Any) -> OutputAnalyser:
    """Learn masks with batches of 8 in parts; the pruning-models see 2 images."""
    torch.manual_seed(0)
    analyser = OutputAnalyser(WithoutNorm(), torch.zeros(1, 3, 8, 8), max_iter=8, images=2, **more)
    phase = PruningPhase(analyser, Budget.of("flops=0.5", analyser.graph))
    options = TrainOptions(batch_size=8, lr=0.05, precision="fp32", accumulate=parts)
    Stage("prune", analyser, data, options, steps, callback=phase).train()
    return analyser


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("parts", [2, 4])
def test_masks_learned_in_parts_are_those_of_the_batch(
    small_data: DataBundle, parts: int, together: bool
) -> None:
    """Weights, pruning-models with their statistics, and masks: all of it, as it was after whole batches."""
    factory = {} if together else {"pruning_model": PruningModel}
    at_once = trained_in_parts(small_data, 1, **factory)
    in_parts = trained_in_parts(small_data, parts, **factory)
    assert at_once.iteration == in_parts.iteration == 6
    assert at_once.cm.min() < 0.9  # masks have moved
    for (name, value), other in zip(
        at_once.state_dict().items(), in_parts.state_dict().values(), strict=True
    ):
        assert torch.allclose(value, other, rtol=1e-4, atol=1e-5), name


def test_every_part_has_a_gradient_to_the_pruning_models(analyser: OutputAnalyser) -> None:
    """That of the sum of two calls' losses, taken at once, is the sum of the gradients taken one by one."""
    phase = PruningPhase(analyser, None)
    analyser.train()
    x = torch.randn(16, 3, 16, 16)
    for norm in (analyser.model.bn1, analyser.model.bn2):
        norm.eval()

    def gradients() -> list[Tensor]:
        collected = [parameter.grad.clone() for parameter in analyser.pruning_parameters()]
        analyser.zero_grad()
        return collected

    analyser.iteration = 500
    state = {name: value.clone() for name, value in analyser.state_dict().items()}
    (analyser(x[:8]).square().sum() + analyser(x[8:]).square().sum()).backward()
    at_once, masks = gradients(), analyser.cm.clone()
    phase.after_step(1)
    analyser.load_state_dict(state)
    analyser.restore()
    analyser.iteration = 500
    first = analyser(x[:8]).square().sum()
    first.backward()
    of_the_first = [parameter.grad.clone() for parameter in analyser.pruning_parameters()]
    analyser(x[8:]).square().sum().backward()
    one_by_one = gradients()
    assert torch.equal(analyser.cm, masks)
    for gradient, added in zip(at_once, one_by_one, strict=True):
        assert torch.allclose(gradient, added, rtol=1e-4, atol=1e-6)
    assert any(
        not torch.allclose(gradient, first_alone, rtol=1e-2)
        for gradient, first_alone in zip(at_once, of_the_first, strict=True)
    )


def allocated(analyser: OutputAnalyser) -> Allocation:
    """The first set is worth so much more that it loses nothing."""
    scores = np.linspace(2.0, 1.0, analyser.graph.classes)
    scores[analyser.graph.groups[0].classes] += 10
    return Allocation(analyser.graph, scores)


def learned_by_allocation(
    plain: nn.Module, images: Tensor, steps: int
) -> tuple[OutputAnalyser, PruningPhase]:
    torch.manual_seed(0)
    analyser = OutputAnalyser(plain, torch.zeros(1, 3, 16, 16), max_iter=120)
    phase = PruningPhase(
        analyser, Budget.of("flops=0.6", analyser.graph), allocate=lambda: allocated(analyser)
    )
    phase.before_training()
    optimizer = torch.optim.SGD(analyser.parameters(), lr=0.01)
    analyser.train()
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        F.cross_entropy(analyser(images), torch.arange(8) % 5).backward()
        optimizer.step()
        phase.after_step(step)
    return analyser, phase


def test_each_group_loses_the_share_that_it_is_allocated(plain: nn.Module, images: Tensor) -> None:
    analyser, phase = learned_by_allocation(plain, images, 120)
    budget, graph = Budget.of("flops=0.6", analyser.graph), analyser.graph
    assert phase.allocation is not None
    expected = budget.select(graph, allocated(analyser).scores).keep
    goals = phase.allocation.shares(budget)
    assert goals[0] == 1.0 and goals[1] < 0.7
    assert phase.allocation.shares_of(analyser.keep) == pytest.approx(goals, abs=0.1)
    plan = analyser.freeze(budget, phase.allocation)
    assert [int(plan.keep[group.classes].sum()) for group in graph.groups] == [
        int(expected[group.classes].sum()) for group in graph.groups
    ]
    judged = graph.groups[1].classes
    recent = analyser.recent.numpy()[judged]
    assert recent[plan.keep[judged]].min() > recent[~plan.keep[judged]].max()  # the masks say which


def test_an_allocated_phase_is_resumed_as_it_was(plain: nn.Module, images: Tensor) -> None:
    analyser, phase = learned_by_allocation(plain, images, 30)
    other = OutputAnalyser(plain, torch.zeros(1, 3, 16, 16), max_iter=120)
    other.load_state_dict(analyser.state_dict())
    resumed = PruningPhase(
        other, Budget.of("flops=0.6", other.graph), allocate=lambda: pytest.fail("it is known")
    )
    resumed.restore(json.loads(json.dumps(phase.state())))
    assert resumed.state() == phase.state() and len(phase.leads) == 2
    assert phase.after_step(31) == resumed.after_step(31)
    assert analyser.leads is not None and other.leads is not None
    assert torch.equal(analyser.leads, other.leads) and analyser.leads.unique().numel() > 1


def test_a_user_steers_all_groups_alike(plain: nn.Module, images: Tensor) -> None:
    analyser, phase = learned_by_allocation(plain, images, 30)
    assert analyser.leads is not None and phase.controller is not None
    leads = analyser.leads.clone()
    phase.take_over(50.0)
    phase.after_step(31)
    assert analyser.interacting == 50 and torch.equal(analyser.leads, leads)
    assert phase.controller.progress == pytest.approx(analyser.progress + phase.leads / 120)
