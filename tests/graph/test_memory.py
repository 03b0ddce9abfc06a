"""Which activations are in memory together, worked out by hand on small networks."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeprune.budget import select
from edgeprune.graph.classes import build_graph
from edgeprune.graph.memory import BYTES

N, SIDE = 2, 8
IMAGE = torch.zeros(N, 3, SIDE, SIDE)
PLACES = N * SIDE * SIDE


class Chain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.Conv2d(8, 4, 1, bias=False)
        self.norm = nn.BatchNorm2d(8, affine=False)
        self.head = nn.Linear(4, 5, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(self.norm(self.a(x)).relu()).mean((2, 3)))


class Residual(Chain):
    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        z = self.norm(y).relu()
        return self.head(self.b(z + y).mean((2, 3)))


def weights(model: nn.Module) -> int:
    return BYTES * sum(p.numel() for p in model.parameters())


def test_a_chain_holds_a_layers_input_and_output() -> None:
    """The highest moment is b, with 8 channels in and 4 out; BatchNorm and ReLU write over what they read."""
    graph = build_graph(Chain().eval(), IMAGE)
    assert graph.memory() == weights(graph.model) + BYTES * PLACES * (8 + 4)


def test_a_residual_stream_is_held_while_the_branch_is_computed() -> None:
    """BatchNorm must not write over y, which is added later: y and the branch are there at once."""
    graph = build_graph(Residual().eval(), IMAGE)
    assert graph.memory() == weights(graph.model) + BYTES * PLACES * (8 + 8)


def test_channels_that_go_take_their_memory_with_them() -> None:
    graph = build_graph(Chain().eval(), IMAGE)
    keep = np.ones(graph.classes, dtype=bool)
    keep[next(g for g in graph.groups if g.name == "a").classes[:6]] = False
    # Then the highest moment is still b (2 in, 4 out), above a (3 in, 2 out).
    assert graph.memory(keep) == BYTES * (graph.params(keep) + PLACES * (2 + 4))
    assert graph.by_widths("memory")(np.array([2, 4])) == graph.memory(keep)


@pytest.mark.parametrize("share", [0.4, 0.6, 0.8])
def test_a_target_of_memory_is_met(share: float) -> None:
    from edgeprune.models import build

    graph = build_graph(build("resnet20", num_classes=10).eval(), torch.zeros(1, 3, 32, 32))
    scores = np.random.default_rng(0).random(graph.classes)
    keep = select(graph, scores, f"memory={share}").keep
    assert 0.95 * share <= graph.memory(keep) / graph.memory() <= share
    amount = share * graph.memory() / 1e6
    assert (select(graph, scores, f"memory={amount}MB").keep == keep).all()


def test_a_change_of_widths_is_told_from_what_was_before() -> None:
    from edgeprune.models import build

    graph = build_graph(build("resnet20", num_classes=10).eval(), torch.zeros(1, 3, 32, 32))
    rng = np.random.default_rng(1)
    widths = np.array([group.size for group in graph.groups])
    for kind in ("flops", "params", "memory"):
        cost = graph.by_widths(kind)
        assert cost(widths) == pytest.approx(getattr(graph, kind)())
        for _ in range(10):
            groups = tuple(int(g) for g in rng.choice(len(widths), 2, replace=False))
            to = tuple(int(rng.integers(1, widths[g] + 1)) for g in groups)
            after = widths.copy()
            after[list(groups)] = to
            assert cost.moved(widths, cost(widths), groups, to) == pytest.approx(cost(after))
