"""Folding: what a dropped channel shares with kept ones goes to their readers' weights."""

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune.graph.classes import Graph, build_graph
from edgeprune.graph.plan import Plan
from edgeprune.reconstruct import reconstruct
from edgeprune.rewrite.compaction import compact

IMAGES = [torch.randn(32, 2, 6, 6, generator=torch.Generator().manual_seed(s)) for s in range(2)]


def network(groups: int = 1) -> Graph:
    """Four hidden channels: the third is the first less twice the second, the fourth thrice the second."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 1, bias=False), nn.Conv2d(4, 4, 3, padding=1, stride=2, groups=groups)
    ).eval()
    with torch.no_grad():
        first, second = model[0].weight[0].clone(), model[0].weight[1].clone()
        model[0].weight[2], model[0].weight[3] = first - 2 * second, 3 * second
    return build_graph(model, torch.zeros(1, 2, 6, 6))


def plan_without(graph: Graph, *dropped: int) -> Plan:
    keep = np.ones(graph.classes, dtype=bool)
    keep[list(dropped)] = False
    return Plan.of(graph, keep)


def test_weights_by_hand() -> None:
    """Channel 2 = channel 0 - 2 channel 1, channel 3 = 3 channel 1, in every place of the kernel."""
    graph = network()
    before = graph.model.get_parameter("1.weight").detach().clone()
    assert reconstruct(graph, plan_without(graph, 2, 3), IMAGES, "fold") == 1
    after = graph.model.get_parameter("1.weight").detach()
    torch.testing.assert_close(after[:, 0], before[:, 0] + before[:, 2], rtol=1e-3, atol=1e-4)
    expected = before[:, 1] - 2 * before[:, 2] + 3 * before[:, 3]
    torch.testing.assert_close(after[:, 1], expected, rtol=1e-3, atol=1e-3)
    assert not bool(after[:, 2:].any())


@pytest.mark.parametrize("dropped", [(2, 3), (0, 1), (1, 2)])
def test_what_others_give_is_kept_wholly(dropped: tuple[int, ...]) -> None:
    graph, x = network(), torch.randn(2, 2, 6, 6)
    expected = graph.model(x)
    plan = plan_without(graph, *dropped)
    reconstruct(graph, plan, IMAGES, "fold")
    torch.testing.assert_close(compact(graph, plan).model(x), expected, rtol=1e-3, atol=1e-3)


def test_each_group_reads_its_own_channels() -> None:
    """Two groups of two channels: of each the second goes, and only the first of the same group can stand for it."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(2, 4, 1, bias=False), nn.Conv2d(4, 4, 3, groups=2, bias=False)).eval()
    with torch.no_grad():
        model[0].weight[1], model[0].weight[3] = 2 * model[0].weight[0], -model[0].weight[2]
    graph, x = build_graph(model, torch.zeros(1, 2, 6, 6)), torch.randn(2, 2, 6, 6)
    expected = graph.model(x)
    classes = graph.param_axes["0.weight", 0]
    plan = plan_without(graph, int(classes[1]), int(classes[3]))
    reconstruct(graph, plan, IMAGES, "fold")
    torch.testing.assert_close(compact(graph, plan).model(x), expected, rtol=1e-3, atol=1e-3)


def test_linear_layers_fold_what_they_read() -> None:
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 2)).eval()
    with torch.no_grad():
        model[0].weight[2] = model[0].weight[0] + model[0].weight[1]
    graph, x = build_graph(model, torch.zeros(1, 3)), torch.randn(400, 3)
    before = model[1].weight.detach().clone()
    reconstruct(graph, plan_without(graph, 2), [x], "fold")
    after = graph.model.get_parameter("1.weight").detach()
    torch.testing.assert_close(after[:, :2], before[:, :2] + before[:, 2:], rtol=1e-3, atol=1e-3)
