"""The numbers of a cut network, compared on a smaller image than the example where that is as good."""

import pytest
import torch
from torch import Tensor, nn

from edgeprune.budget import select
from edgeprune.errors import PlanError
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.graph.plan import Plan
from edgeprune.importance import score
from edgeprune.rewrite import closeness, masked_runs, masking, proof
from edgeprune.rewrite.compaction import Compacted, compact
from edgeprune.rewrite.masking import mask, masked_weights


class Net(nn.Module):
    def __init__(self, groups: int = 1) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=groups), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head((x + self.body(x)).mean((2, 3)))


def _planned(model: nn.Module, side: int) -> tuple[Graph, Plan]:
    graph = build_graph(model.eval(), torch.zeros(1, 3, side, side))
    return graph, select(graph, score(graph, "l1"), "flops=0.5")


def _on_small(graph: Graph, small: Compacted) -> tuple[list[Tensor], list[Tensor]] | None:
    return proof.compared_on_small(masked_runs.MaskedOriginal(graph, graph.flow, small.plan, ()), small.model)


@pytest.mark.parametrize("side", [16, 96])
def test_weights_that_read_no_dropped_channel_are_what_masks_are(side: int) -> None:
    torch.manual_seed(0)
    model = Net()
    graph, plan = _planned(model, side)
    before = {name: (p, p.data_ptr(), p._version, p.clone()) for name, p in model.named_parameters()}
    weights = masked_weights(graph, graph.flow, plan)
    assert weights is not None and weights
    image = torch.randn(2, 3, side, side)
    expected = mask(graph, plan)(image)
    with masked_runs.in_place_of(model, weights), torch.no_grad():
        assert torch.allclose(model(image), expected, atol=1e-6)
    compact(graph, plan)
    for name, parameter in model.named_parameters():
        old, address, version, value = before[name]
        assert parameter is old and parameter.data_ptr() == address and parameter._version == version
        assert torch.equal(parameter, value)


def test_grouped_convolutions_are_masked_at_their_calls() -> None:
    graph, plan = _planned(Net(groups=2), 32)
    assert masked_weights(graph, graph.flow, plan) is None
    compact(graph, plan)


def test_a_wrong_channel_shows_though_the_example_is_all_zeros() -> None:
    torch.manual_seed(0)
    graph, plan = _planned(Net(), 96)
    small = compact(graph, plan)
    with torch.no_grad():
        weight = small.model.stem[0].weight
        weight.copy_(weight.flip(0))
    with pytest.raises(PlanError, match="cannot be cut exactly"):
        proof.prove(graph, small.plan, small.model, ())


def test_the_example_counts_where_the_path_depends_on_the_size() -> None:
    class Sized(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * 2 if x.shape[2] > 64 else super().forward(x)

    graph, plan = _planned(Sized(), 96)
    small = compact(graph, plan)
    assert _on_small(graph, small) is None
    graph, plan = _planned(Net(), 96)
    small = compact(graph, plan)
    assert _on_small(graph, small) is not None


def test_infinite_weights_of_dropped_channels_do_not_count() -> None:
    weight = torch.ones(2, 3)
    weight[:, 1] = torch.inf
    alive = torch.tensor([True, False, True])
    assert torch.equal(masking._emptied(weight, 1, alive), torch.tensor([[1.0, 0.0, 1.0]] * 2))
    assert torch.equal(masking._emptied(torch.ones(2, 3), 1, alive), torch.tensor([[1.0, 0.0, 1.0]] * 2))


class Amplified(Net):
    """Rounding grows to some thousandths of the outputs."""

    def forward(self, x: Tensor) -> Tensor:
        return (super().forward(x) * 30_000).sin()


def _cut_by(error: float, kind: type[Net], seed: int = 0) -> tuple[Graph, Compacted]:
    torch.manual_seed(seed)
    graph, plan = _planned(kind(), 96)
    small = compact(graph, plan)
    with torch.no_grad():
        small.model.head.weight.mul_(1 + error)
        small.model.head.bias.mul_(1 + error)
    proof.prove(graph, small.plan, small.model, ())
    return graph, small


def test_what_may_be_rounding_is_decided_in_float64() -> None:
    _cut_by(1e-6, Net)
    with pytest.raises(PlanError, match="cannot be cut exactly: output 0"):
        _cut_by(1e-3, Net)
    differing = []
    for seed in range(4):
        pair = _on_small(*_cut_by(0.0, Amplified, seed))
        assert pair is not None and closeness.are_close(*pair)
        differing.append(closeness.difference(*pair, closeness.ROUNDING))
    assert 0 in differing


def test_code_for_float32_alone_is_held_to_what_float32_can_tell() -> None:
    class Single(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.float())

    _cut_by(1e-3, Single)
    with pytest.raises(PlanError, match="cannot be cut exactly"):
        _cut_by(1e-2, Single)
