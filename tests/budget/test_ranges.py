"""What targets can reach: by hand, and by asking for it."""

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune.budget import Budget
from edgeprune.budget.ranges import reachable
from edgeprune.errors import TargetError
from edgeprune.graph.classes import Graph, Ints, build_graph
from edgeprune.resources import get
from edgeprune.resources.counted import Flops


@pytest.fixture(scope="module")
def graph() -> Graph:
    """Eight channels that may go, between three that come in and ten that go out."""
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 10, 3, padding=1))
    return build_graph(net.eval(), torch.zeros(1, 3, 8, 8))


class Stepped(Flops):
    """FLOPs on a device that computes four channels at a time."""

    def steps(self, graph: Graph) -> Ints:
        return np.full(len(graph.groups), 4)


@pytest.mark.parametrize(
    ("kind", "smallest", "largest"),
    # 27 weights and a bias for each channel that goes, 90 weights that read it; 954 parameters in all
    [("flops", 2 / 8, 7 / 8), ("params", (10 + 2 * 118) / 954, (10 + 7 * 118) / 954)],
)
def test_two_channels_are_the_least_and_one_is_the_smallest_step(
    graph: Graph, kind: str, smallest: float, largest: float
) -> None:
    reach = reachable(graph, get(kind))
    assert reach.smallest == pytest.approx(smallest) and reach.largest == pytest.approx(largest)
    assert reach.unpruned == get(kind).cost(graph)


def test_a_device_with_steps_reaches_less(graph: Graph) -> None:
    reach = reachable(graph, Stepped())
    assert (reach.smallest, reach.largest) == (pytest.approx(0.5), pytest.approx(0.5))


def test_blocks_that_may_go_are_gone_where_that_saves_something(graph: Graph) -> None:
    assert reachable(graph, Stepped(), blocks=[(0,)]).smallest == 0


@pytest.mark.parametrize("kind", ["flops", "params", "memory"])
def test_what_is_said_to_be_reachable_is_and_no_more(kind: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 24, 3, stride=2), nn.ReLU(),
        nn.Conv2d(24, 6, 1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 9, 5),
    )  # fmt: skip
    graph = build_graph(net.eval(), torch.zeros(1, 3, 8, 8))
    scores = np.random.default_rng(0).random(graph.classes)
    smallest = reachable(graph, get(kind)).smallest
    plan = Budget.of(f"{kind}={smallest * 1.0001}", graph).select(graph, scores)
    assert get(kind).cost(graph, plan.keep) == pytest.approx(smallest * get(kind).cost(graph))
    with pytest.raises(TargetError, match="cannot be reached"):
        Budget.of(f"{kind}={smallest * 0.98}", graph).select(graph, scores)


def test_a_network_without_channels_to_remove() -> None:
    graph = build_graph(nn.Conv2d(3, 4, 1).eval(), torch.zeros(1, 3, 4, 4))
    reach = reachable(graph, get("flops"))
    assert (reach.smallest, reach.largest) == (1.0, None)
