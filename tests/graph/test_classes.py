import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import googlenet, resnet18

from edgeprune.errors import PlanError, TraceError
from edgeprune.graph.classes import build_graph, example_shapes
from edgeprune.models import build
from edgeprune.recording.record import VALUE
from graph.checks import fvcore_flops

IMAGE = torch.zeros(1, 3, 8, 8)


class Block(nn.Module):
    """A stem of 6 channels and a residual block of 4 inside; 10 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.inner, self.outer = nn.Conv2d(6, 4, 3, padding=1), nn.Conv2d(4, 6, 1)
        self.fc = nn.Linear(6, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x))
        x = (x + self.outer(self.inner(x).relu())).relu()
        return self.fc(x.mean((2, 3)))


def test_groups_of_a_residual_block() -> None:
    graph = build_graph(Block(), IMAGE)
    result = {g.name: (g.size, set(g.producers), set(g.consumers)) for g in graph.groups}
    assert result == {
        "stem": (6, {"stem", "outer"}, {"inner", "fc"}),
        "inner": (4, {"inner"}, {"outer"}),
    }
    assert graph.classes == 10
    assert graph.group_of.tolist() == [0] * 6 + [1] * 4 or graph.group_of.tolist() == [1] * 4 + [0] * 6
    assert [(p.layers, p.channels, p.reason) for p in graph.protected] == [
        (("fc",), 10, "output of the network")
    ]
    assert example_shapes(graph) == [(1, 3, 8, 8)]


def test_parameters_and_flops_by_hand() -> None:
    """With s of the 6 stem channels and i of the 4 inner ones."""
    graph = build_graph(Block(), IMAGE)
    names = {g.name: g.classes for g in graph.groups}
    for s, i in [(6, 4), (5, 4), (2, 3), (1, 1)]:
        keep = np.ones(graph.classes, dtype=bool)
        keep[names["stem"][s:]], keep[names["inner"][i:]] = False, False
        params = 27 * s + 2 * s + (9 * s * i + i) + (i * s + s) + 10 * s + 10
        assert graph.params(keep) == params
        flops = 64 * 27 * s + 2 * 64 * s + 64 * 9 * s * i + 64 * i * s + 10 * s
        assert graph.flops(keep) == flops
    assert graph.flops() == fvcore_flops(graph.model.eval(), (IMAGE,))


def test_the_emptied_block_costs_one_number_a_channel() -> None:
    graph = build_graph(Block(), IMAGE)
    keep = np.ones(graph.classes, dtype=bool)
    keep[next(g for g in graph.groups if g.name == "inner").classes] = False
    assert graph.params(keep) == 27 * 6 + 2 * 6 + 6 + 60 + 10
    assert graph.flops(keep) == 64 * 27 * 6 + 2 * 64 * 6 + 60


def test_marginal_costs_are_derivatives() -> None:
    graph = build_graph(Block(), IMAGE)
    everything = np.ones(graph.classes, dtype=bool)
    for marginal, cost in ((graph.marginal_params, graph.params), (graph.marginal_flops, graph.flops)):
        slopes = marginal()
        for item in range(graph.classes):
            without = everything.copy()
            without[item] = False
            # A class stands on at most one side of each product here, so first order is exact.
            assert cost() - cost(without) == slopes[item]
    assert sum(graph.node_flops().values()) == graph.flops()


def test_keep_vector_of_another_model() -> None:
    graph = build_graph(Block(), IMAGE)
    with pytest.raises(PlanError, match="another model's plan"):
        graph.params(np.ones(3, dtype=bool))


def test_the_structure_has_a_fingerprint() -> None:
    same = [build_graph(build("resnet20", num_classes=10), torch.zeros(1, 3, 32, 32)) for _ in range(2)]
    other = build_graph(build("resnet20", num_classes=10, width=8), torch.zeros(1, 3, 32, 32))
    assert same[0].fingerprint == same[1].fingerprint != other.fingerprint


def test_ignored_layers_keep_their_channels() -> None:
    graph = build_graph(Block(), IMAGE, ignore=["inner"])
    assert {g.name for g in graph.groups} == {"stem"}
    assert ("on the ignore list", ("inner",)) in [(p.reason, p.layers) for p in graph.protected]
    stages = build_graph(resnet18(), torch.zeros(1, 3, 32, 32), ignore=["layer1", "fc"])
    assert not any(name.startswith("layer1") for g in stages.groups for name in g.producers)
    with pytest.raises(TraceError, match="no layer 'outter' to ignore; layers are stem"):
        build_graph(Block(), IMAGE, ignore=["outter"])


def test_parts_that_no_mode_uses_are_noted() -> None:
    model = Block()
    model.spare = nn.Sequential(nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1))
    assert build_graph(model, IMAGE).notes == ("spare is not used by forward: it stays as it is",)
    assert build_graph(Block(), IMAGE).notes == ()


def test_parts_that_training_alone_uses_are_a_part_of_the_graph() -> None:
    graph = build_graph(googlenet(aux_logits=True, init_weights=False), torch.zeros(1, 3, 64, 64))
    assert graph.notes == () and graph.training_flow is not None
    assert any(name.startswith("aux1") for group in graph.groups for name in group.producers)


def test_nothing_to_prune_is_no_error() -> None:
    graph = build_graph(nn.Sequential(nn.Conv2d(3, 4, 1)), IMAGE)
    assert (graph.classes, graph.groups, graph.params()) == (0, [], 16)


def test_activations_of_the_example_are_not_kept() -> None:
    graph = build_graph(Block(), IMAGE)
    size = lambda n: n.meta[VALUE].untyped_storage().nbytes()  # noqa: E731
    assert all(size(n) <= 8 for n in graph.nodes if n.op.startswith("call"))
