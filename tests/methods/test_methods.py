"""Methods by name: what each takes and refuses, what it needs, and those that come from outside."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from edgeprune import importance, methods
from edgeprune.cli import main
from edgeprune.errors import PlanError, TrainError
from edgeprune.graph.classes import Graph
from edgeprune.methods import METHODS, SCHEDULES, Method, MethodOptions, chosen_method
from edgeprune.train_prune.options import TrainPruneOptions


def test_every_criterion_is_a_method_and_every_method_has_a_line_of_help() -> None:
    assert set(importance.CRITERIA) < set(methods.names())
    assert set(methods.names()) - set(importance.CRITERIA) == {
        "learned", "sss", "saliency-similarity", "sensitivity", "auto",
    }  # fmt: skip
    assert all(methods.get(name).help and methods.get(name).name == name for name in methods.names())


@pytest.mark.parametrize(
    ("name", "data", "gradients"),
    [("l1", False, False), ("chip", True, False), ("taylor", True, True), ("sss", False, False)],
)
def test_what_a_method_needs(name: str, data: bool, gradients: bool) -> None:
    assert methods.get(name).needs_data == data
    assert methods.get(name).needs_gradients == gradients


@pytest.mark.parametrize(
    ("name", "schedule", "reconstruct"),
    [
        ("l1", "one-shot", "none"),
        ("l2", "soft", "none"),
        ("lasso", "one-shot", "kernel"),
        ("lindeps", "one-shot", "fold"),
        ("sss", "regularised", "none"),
    ],
)
def test_the_defaults_of_a_source(name: str, schedule: str, reconstruct: str) -> None:
    filled = methods.get(name).defaults(MethodOptions(method=name))
    assert filled == {"prune_schedule": schedule, "reconstruct": reconstruct}


def test_only_the_learned_method_is_steered_and_has_no_schedule() -> None:
    assert [name for name in methods.names() if methods.get(name).steerable] == ["learned"]
    assert methods.get("learned").defaults(MethodOptions()) == {}


def test_a_plan_takes_the_place_of_a_method() -> None:
    assert chosen_method(MethodOptions(plan="plan.json")).name == "plan"
    assert "plan" not in methods.names()
    with pytest.raises(TrainError, match="unknown method 'plan'"):
        chosen_method(MethodOptions(method="plan"))


@pytest.fixture
def alternating() -> Iterator[Method]:
    """A method from outside, for the length of a test."""

    class Alternating(Method):
        """Keeps every other channel."""

        name = "alternating"
        schedules = ("one-shot", "iterative")

    yield methods.register(Alternating)
    METHODS.unregister("alternating")


def test_a_method_from_outside_is_one_by_name(alternating: Method) -> None:
    assert methods.get("alternating") is alternating and methods.names()[-1] == "alternating"
    with pytest.raises(TrainError, match="there is a method 'alternating' already"):
        methods.register(alternating)


def test_a_method_follows_only_its_schedules(alternating: Method) -> None:
    alternating.check(MethodOptions(method="alternating", prune_schedule="iterative"))
    with pytest.raises(TrainError, match="alternating has no schedule but one-shot, iterative"):
        alternating.check(MethodOptions(method="alternating", prune_schedule="soft"))
    with pytest.raises(TrainError, match="alternating takes no `reduction`"):
        alternating.check(MethodOptions(method="alternating", reduction="max"))


@pytest.mark.parametrize("wrong", [Method(), Method, "l1", object])
def test_what_is_not_a_method(wrong: object) -> None:
    with pytest.raises(TrainError, match="derive it from|write a word"):
        methods.register(wrong)  # type: ignore[arg-type]


def test_a_criterion_from_outside_is_a_method_too() -> None:
    def last(graph: Graph) -> np.ndarray:
        """The place of a channel."""
        return np.arange(graph.classes, dtype=float)

    importance.register("last", last)
    try:
        assert methods.names()[-1] == "last"
        assert (
            methods.get("last").criteria == ("last",)
            and methods.get("last").help == "The place of a channel."
        )
        with pytest.raises(TrainError, match="last takes no `normalise`"):
            methods.get("last").check(MethodOptions(method="last", normalise="max"))
    finally:
        importance.CRITERIA.unregister("last")
    with pytest.raises(PlanError, match="takes no graph"):
        importance.register("none", lambda: None)


@pytest.mark.parametrize("name", ["sss", "learned"])
def test_methods_that_score_by_their_training_are_no_criteria(name: str, small_graph: Graph) -> None:
    with pytest.raises(PlanError, match=f"edgeprune.Pruner with method=.{name}.*train-prune --method {name}"):
        importance.score(small_graph, name)


@pytest.fixture
def small_graph() -> Graph:
    from torch import nn, zeros

    from edgeprune.graph.classes import build_graph

    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    return build_graph(network, zeros(1, 3, 8, 8))


def test_the_command_line_lists_all_of_them() -> None:
    result = CliRunner().invoke(main, ["train-prune", "--methods"])
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == list(methods.names())
    shown = "".join(CliRunner().invoke(main, ["train-prune", "--help-all"]).stdout.split())
    assert ",".join(METHODS.registered()) in shown
    assert "one-shot,iterative,softorregularised" in shown and len(SCHEDULES) == 4


def test_their_names_are_known_without_torch() -> None:
    code = "import sys, edgeprune.methods as m; print(len(m.METHODS), 'torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["22", "False"]


@pytest.mark.parametrize(
    ("total", "learned", "others"), [(10, 4, 4), (378, 151, 151), (3710, 400, 1484), (39_100, 4000, 4000)]
)
def test_the_learned_phase_is_a_tenth_where_that_is_enough(total: int, learned: int, others: int) -> None:
    assert methods.get("learned").phase_steps(total) == learned
    assert methods.get("l1").phase_steps(total) == methods.get("sensitivity").phase_steps(total) == others


def test_rates_of_few_epochs_are_those_that_were_measured() -> None:
    learned = methods.get("learned")
    few = TrainPruneOptions(epochs=10, baseline_lr=0.1)
    assert learned.training_defaults(few) == {"lr": pytest.approx(0.02), "schedule": "cosine"}
    assert learned.training_defaults(replace(few, epochs=100)) == {}  # the source's own
    assert learned.training_defaults(replace(few, task="segment")) == {}
    assert learned.training_defaults(MethodOptions()) == {}
