"""What is left of a residual block none of whose inner channels stay."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeprune.graph.classes import build_graph
from edgeprune.graph.liveness import liveness_of
from edgeprune.graph.plan import Plan
from edgeprune.rewrite.compaction import compact
from graph.checks import disagreement, parameters, randomise

IMAGE = torch.randn(2, 3, 8, 8)


class Net(nn.Module):
    """A stem, one residual block whose tail is given, a head."""

    def __init__(self, *tail: nn.Module, last: bool = True) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.inner = nn.Conv2d(6, 4, 3, padding=1)
        self.tail, self.last = nn.Sequential(*tail), nn.Conv2d(6, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.last(x + self.tail(self.inner(x).relu()))


def emptied(model: Net) -> tuple:
    graph = build_graph(randomise(model), IMAGE)
    keep = np.ones(graph.classes, dtype=bool)
    keep[next(g for g in graph.groups if g.name == "inner").classes] = False
    return graph, keep


@pytest.mark.parametrize(
    ("tail", "extra"),
    [
        ([nn.Conv2d(4, 6, 1, bias=False)], 0),
        ([nn.Conv2d(4, 6, 1, bias=False), nn.ReLU(), nn.Dropout()], 0),
        ([nn.Conv2d(4, 6, 1)], 6),
        ([nn.Conv2d(4, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)], 6),
        ([nn.Conv2d(4, 6, 1, bias=False), nn.Sigmoid()], 6),
        ([nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.ReLU(), nn.Conv2d(4, 6, 1)], 6),
        ([nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6), nn.PReLU(6), nn.Conv2d(6, 6, 1)], 6),
    ],
    ids=["nothing", "nothing-relu", "bias", "norm", "sigmoid", "depthwise", "pointlike"],
)
def test_the_block_is_a_constant_or_nothing(tail: list[nn.Module], extra: int) -> None:
    graph, keep = emptied(Net(*tail))
    done = compact(graph, Plan.of(graph, keep))
    assert disagreement(graph, done, (IMAGE,)) < 1e-6 and done.plan.notes == ()
    assert parameters(done.model) == 3 * 6 * 9 + 6 + 6 * 5 + 5 + extra == graph.params(keep)
    layers = {
        name for name, layer in done.model.named_modules() if name and [*layer.parameters(recurse=False)]
    }
    assert layers == {"stem", "last"} and done.rewritten == ("",)
    assert (" + " in done.model.forward.source) == bool(extra)


def test_what_cannot_be_a_constant_keeps_one_channel_and_says_so() -> None:
    """A padded 3x3 convolution of a constant is no constant: its edges differ."""
    graph, keep = emptied(Net(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 6, 3, padding=1)))
    done = compact(graph, Plan.of(graph, keep))
    assert int(done.plan.keep.sum() - keep.sum()) == 1
    assert done.plan.notes == ("left alone: 1 channel at tail.2, because it needs at least one",)
    assert disagreement(graph, done, (IMAGE,)) < 1e-6


def test_structure_does_not_depend_on_weights() -> None:
    """A model is rebuilt from its plan with other weights, and then loaded."""
    tail = [nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6)]
    graph, keep = emptied(Net(*tail))
    with torch.no_grad():
        for parameter in graph.model.parameters():
            parameter.zero_()
    zeros = compact(graph, Plan.of(graph, keep)).model
    graph, keep = emptied(Net(*tail))
    drawn = compact(graph, Plan.of(graph, keep)).model
    assert zeros.forward.source == drawn.forward.source
    zeros.load_state_dict(drawn.state_dict())
    with torch.no_grad():
        assert torch.equal(zeros(IMAGE), drawn(IMAGE))


def test_everything_works_while_nothing_goes() -> None:
    graph, keep = emptied(Net(nn.Conv2d(4, 6, 1)))
    liveness = liveness_of(graph.flow, graph.class_of, np.ones_like(keep))
    assert not liveness.empty and not liveness.constant and not liveness.blocked
    assert liveness.working == set(graph.nodes)
