"""What can be added from outside: one test for each axis, through public registries alone, nothing patched.

Each addition is a function of under 40 lines, which `test_additions_are_short` counts; what it registers is
taken back after the test.
"""

import inspect
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch.nn.functional as F

from edgeprune import importance, methods, resources, tasks
from edgeprune.pipeline import train_prune
from edgeprune.recipe import TrainPruneOptions
from edgeprune.training import Extra

MOST_LINES = 40
ADDITIONS: list[Callable[..., Any]] = []  # the functions that add something


def addition(function: Callable[..., Any]) -> Callable[..., Any]:
    """Note a function among those whose lines are counted."""
    ADDITIONS.append(function)
    return function


@addition
def add_criterion() -> Callable[[], None]:
    """The place of a channel in its layer: the first ones stay."""

    def place(graph: Any, *, reduction: str = "mean") -> Any:
        scores = np.zeros(graph.classes)
        for group in graph.groups:
            scores[group.classes] = 1.0 / np.arange(1, len(group.classes) + 1)
        return scores

    importance.register("toy-place", place)
    return lambda: importance.CRITERIA.unregister("toy-place")


@addition
def add_method() -> Callable[[], None]:
    """Two removals by the toy criterion; training counts its steps, and notes how many there were."""

    class Counting(Extra):
        steps = 0

        def after_step(self, step: int, loss: float = 0.0) -> dict[str, Any]:
            self.steps += 1
            return {"toy_steps": self.steps}

        def state(self) -> dict[str, Any]:
            return {"steps": self.steps}

        def restore(self, state: dict[str, Any]) -> None:
            self.steps = state["steps"]

    class Toy(methods.Method):
        name = "toy-method"
        help = "the place of a channel, in several removals"
        criteria = ("toy-place",)
        schedule = "iterative"

        def callback(self, phase: Any) -> Extra:
            return Counting()

    methods.register(Toy)
    return lambda: methods.METHODS.unregister("toy-method")


@addition
def add_resource() -> Callable[[], None]:
    """How many channels there are, as a target."""

    class Channels(resources.Resource):
        name = "toy-channels"

        def cost(self, graph: Any, keep: Any = None) -> float:
            return float(graph.classes if keep is None else keep.sum())

    resources.register(Channels)
    return lambda: resources.RESOURCES.unregister("toy-channels")


@addition
def add_task() -> Callable[[], None]:
    """The number of an image's class, to be met by the mean of the outputs."""

    class Toy(tasks.Task):
        name = "toy-task"
        metrics = (tasks.Metric("toy_error", higher_is_better=False),)

        def loss(self, output: Any, target: Any, *, label_smoothing: float = 0.0) -> Any:
            return F.mse_loss(output.float().mean(1), target.float())

        def measures(self, output: Any, target: Any) -> dict[str, Any]:
            return {"toy_error": (output.float().mean(1).cpu() - target).abs()}

    tasks.register(Toy)
    return lambda: tasks.TASKS.unregister("toy-task")


@pytest.fixture
def added() -> Iterator[None]:
    """Everything that `train-prune` asks, from outside."""
    take_back = [add() for add in (add_criterion, add_method, add_resource, add_task)]
    yield
    for undo in take_back:
        undo()


@pytest.mark.usefixtures("added", "here")
def test_one_run_uses_a_criterion_a_method_a_resource_and_a_task_from_outside(
    tmp_path: Path, options: TrainPruneOptions
) -> None:
    toys = replace(options, method="toy-method", target="toy-channels=0.6", task="toy-task", prune_steps=2)
    summary = train_prune(tmp_path / "run", toys)
    assert summary["target"]["kind"] == "toy-channels"
    assert 0.5 < summary["target"]["got_fraction"] <= 0.6 == summary["target"]["fraction"]
    assert summary["metric"]["name"] == "toy_error" and "accuracy_drop" not in summary
    assert summary["models"]["pruned"]["toy_error"] > 0
    plans = json.loads((tmp_path / "run" / "model.json").read_text())["plans"]
    assert len(plans) == 2
    kept = [group["kept"] for group in plans[0]["groups"]]
    assert any(len(one) > 1 for one in kept) and all(one == list(range(len(one))) for one in kept)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert any("toy_steps" in line for line in lines) and any("val_toy_error" in line for line in lines)
    again = train_prune(tmp_path / "run", resume=True)
    assert again == summary


@pytest.mark.parametrize("addition", ADDITIONS)
def test_additions_are_short(addition: Callable[..., Any]) -> None:
    assert len(inspect.getsource(addition).splitlines()) < MOST_LINES
