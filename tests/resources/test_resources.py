"""Resources by name: how targets of them are written, what they cost, and those that come from outside."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from edgeprune import resources
from edgeprune.budget import Budget, Target, parse_targets, select
from edgeprune.errors import TargetError
from edgeprune.graph.classes import Bools, Graph, build_graph
from edgeprune.importance import score
from edgeprune.models import build
from edgeprune.resources import RESOURCES, Resource

IMAGE = torch.zeros(1, 3, 16, 16)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return build_graph(build("resnet8", num_classes=4), IMAGE)


def test_those_of_the_house() -> None:
    assert resources.names() == ("flops", "params", "memory", "latency", "energy")
    assert [name for name in resources.names() if resources.get(name).needs_device] == ["latency", "energy"]
    assert [resources.get(name).example for name in resources.names()] == [
        "flops=F", "params=F", "memory=F or 20MB", "latency=F or 20ms", "energy=F or 20mJ",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "expected"), [("flops", "flops"), ("params", "params"), ("memory", "memory")]
)
def test_costs_by_keep_set_by_widths_and_while_growing_are_the_same(
    name: str, expected: str, graph: Graph
) -> None:
    resource = resources.get(name)
    keep = np.ones(graph.classes, dtype=bool)
    keep[graph.groups[0].classes[2:]] = False
    widths = np.array([int(keep[group.classes].sum()) for group in graph.groups])
    total = getattr(graph, expected)(keep)
    assert resource.cost(graph, keep) == total
    assert resource.by_widths(graph)(widths) == pytest.approx(total)
    growing = resource.growing(graph, keep)
    cost, after = growing.after(graph.groups[0].classes[2:4])
    wider = keep.copy()
    wider[graph.groups[0].classes[2:4]] = True
    assert cost == getattr(graph, expected)(wider)
    growing.take(after)
    assert growing.after(graph.groups[0].classes[4:])[0] == getattr(graph, expected)()


def test_finished_models_are_measured(graph: Graph) -> None:
    assert resources.get("params").measure(graph.model, IMAGE) == graph.params()
    assert resources.get("memory").measure(graph.model, IMAGE) == graph.memory()
    assert resources.get("flops").measure(graph.model, IMAGE) == pytest.approx(graph.flops())


class Channels(Resource):
    """How many classes stay, in dozens."""

    name = "channels"
    unit = "classes"
    units = {"one": 1.0, "dozen": 12.0}
    shown = "dozen"

    def cost(self, graph: Graph, keep: Bools | None = None) -> float:
        """Count them."""
        return float(graph.classes if keep is None else keep.sum())


@pytest.fixture
def channels() -> Iterator[Resource]:
    yield resources.register(Channels)
    RESOURCES.unregister("channels")


def test_a_resource_from_outside_is_a_target(channels: Resource, graph: Graph) -> None:
    plan = select(graph, score(graph, "l1"), "channels=0.5")
    assert graph.classes // 2 - 2 <= plan.keep.sum() <= graph.classes // 2
    both = parse_targets("flops=0.9,channels=3dozen")
    assert both[1] == Target("channels", None, 36.0) and str(both[1]) == "channels=3dozen"
    assert Budget.of(both, graph).select(graph, score(graph, "l1")).keep.sum() <= 36
    with pytest.raises(TargetError, match="target 'channels=3box': unknown unit 'box'"):
        parse_targets("channels=3box")


def test_costs_by_default_follow_from_the_cost_of_a_keep_set(channels: Resource, graph: Graph) -> None:
    widths = np.array([group.size // 2 for group in graph.groups])
    assert channels.by_widths(graph)(widths) == widths.sum()
    growing = channels.growing(graph, np.zeros(graph.classes, dtype=bool))
    cost, after = growing.after(np.array([1, 2]))
    growing.take(after)
    assert (cost, growing.after(np.array([2, 3]))[0]) == (2, 3)
    assert channels.measure(graph.model, IMAGE) == graph.classes
    assert channels.measured_on_device(None) is None


@pytest.mark.parametrize("wrong", [Resource(), Resource, "flops", Channels.cost])
def test_what_is_not_a_resource(wrong: object) -> None:
    with pytest.raises(TargetError, match="derive it from|write a word"):
        resources.register(wrong)  # type: ignore[arg-type]


def test_a_name_with_a_sign_of_equality_cannot_be_asked_for() -> None:
    odd = Channels()
    odd.name = "a=b"
    with pytest.raises(TargetError, match="targets are written NAME=FRACTION"):
        resources.register(odd)


def test_time_needs_a_device(graph: Graph) -> None:
    with pytest.raises(TargetError, match="latency needs a device's latency table"):
        resources.get("latency").cost(graph)
    record = {"attempts": [{"chosen": False}, {"chosen": True, "baseline_ms": 4.0, "pruned_ms": 2.0}]}
    assert resources.get("latency").measured_on_device(record) == (4.0, 2.0)
    assert resources.get("latency").measured_on_device({"attempts": []}) is None
