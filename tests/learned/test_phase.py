"""The pruning phase: what the controller and a second terminal do to `interacting`."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.budget import Budget
from edgeprune.learned.analyser import OutputAnalyser
from edgeprune.learned.phase import PruningPhase
from edgeprune.runs.run import Run
from edgeprune.runs.training_state import TrainingState


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
