"""Merging: dropped channels are averaged into their likest kept ones, and the readers' weights are added up."""

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune.graph.classes import Graph, build_graph
from edgeprune.graph.plan import Plan
from edgeprune.models import build
from edgeprune.reconstruct import reconstruct
from edgeprune.reconstruct.merge import merge, partners
from edgeprune.rewrite.compaction import compact


def network() -> Graph:
    """Channels 0 and 2 point one way, 1 and 3 another; 2 is twice as long as 0."""
    model = nn.Sequential(nn.Conv2d(2, 4, 1, bias=False), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1)).eval()
    with torch.no_grad():
        rows = torch.tensor([[1.0, 0], [0, 1], [2, 0.1], [-0.2, 4]])
        model[0].weight.copy_(rows[:, :, None, None])
        model[1].weight.copy_(torch.tensor([1.0, 2, 3, 4]))
        model[1].running_mean.copy_(torch.tensor([0.0, 2, 4, 8]))
        model[2].weight.copy_(torch.tensor([1.0, 10, 100, 1000]).view(1, 4, 1, 1))
    return build_graph(model, torch.zeros(1, 2, 3, 3))


def kept(graph: Graph, *dropped: int) -> np.ndarray:
    keep = np.ones(graph.classes, dtype=bool)
    keep[list(dropped)] = False
    return keep


def test_partners_point_the_same_way() -> None:
    graph = network()
    assert partners(graph, kept(graph, 2, 3)).tolist() == [0, 1, 0, 1]
    assert partners(graph, kept(graph, 0, 1)).tolist() == [2, 3, 2, 3]
    assert partners(graph, kept(graph)).tolist() == [0, 1, 2, 3]


def test_means_and_sums_by_hand() -> None:
    graph = network()
    merge(graph, partners(graph, kept(graph, 2, 3)))
    written, norm, read = (graph.model.get_submodule(str(place)) for place in range(3))
    torch.testing.assert_close(written.weight[:2, :, 0, 0], torch.tensor([[1.5, 0.05], [-0.1, 2.5]]))
    assert norm.weight[:2].tolist() == [2, 3]
    assert norm.running_mean[:2].tolist() == [2, 5]
    assert read.weight[0, :2, 0, 0].tolist() == [101, 1010]


def test_three_become_one() -> None:
    graph = network()
    merge(graph, np.array([1, 1, 2, 1]))
    read = graph.model.get_submodule("2").weight[0, :, 0, 0].tolist()
    assert (read[1], read[2]) == (1011, 100)
    assert graph.model.get_submodule("1").weight[1].item() == pytest.approx((1 + 2 + 4) / 3)


def test_copies_are_merged_without_loss() -> None:
    """Channels of which each has a copy: half of them is the same network, without a fit."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(24, 5),
    ).eval()  # fmt: skip
    with torch.no_grad():
        for tensor in (model[0].weight, model[1].weight, model[1].bias, model[1].running_mean):
            tensor[1::2] = tensor[::2]
    graph, x = build_graph(model, torch.zeros(1, 3, 8, 8)), torch.randn(4, 3, 8, 8)
    expected = model(x)
    keep = kept(graph, 1, 3, 5)
    merge(graph, partners(graph, keep))
    torch.testing.assert_close(compact(graph, Plan.of(graph, keep)).model(x), expected)


def test_fits_after_it_bring_a_network_nearer_to_what_it_was() -> None:
    torch.manual_seed(0)
    model = build("resnet20", num_classes=5, width=8).eval()
    images = torch.randn(96, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    x = torch.randn(8, 3, 16, 16)
    graph = build_graph(model, torch.zeros(1, 3, 16, 16))
    plan = Plan.of(graph, np.random.default_rng(0).random(graph.classes) < 0.7)
    with torch.no_grad():
        expected, plain = graph.model(x), compact(graph, plan).model(x)
        reconstruct(graph, plan, [images], "merge")
        better = compact(graph, plan).model(x)
    assert float((better - expected).norm()) < 0.9 * float((plain - expected).norm())
