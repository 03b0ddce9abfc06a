"""Soft pruning: channels at zero, which may come back."""

import numpy as np
import torch
from torch import nn

from edgeprune.budget import Budget
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.graph.plan import Plan
from edgeprune.importance import score
from edgeprune.methods.soft import SoftPruning, zero
from edgeprune.models import build
from edgeprune.rewrite.compaction import compact

IMAGE = torch.zeros(1, 3, 16, 16)


def graph_of(name: str = "resnet20") -> Graph:
    torch.manual_seed(0)
    graph = build_graph(build(name, num_classes=5, width=8).eval(), IMAGE)
    for module in graph.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias)
            module.running_mean.normal_()
    return graph


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.inside, self.inner = nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.depthwise = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.back, self.head = nn.Conv2d(12, 8, 1), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.stem(x)).relu()
        x = x + self.back(self.depthwise(self.inner(self.inside(x)).relu()).relu())
        return self.head(x.relu().mean((2, 3)))


def test_zeroed_it_computes_what_the_compacted_model_does() -> None:
    torch.manual_seed(0)
    model = Residual().eval()
    nn.init.normal_(model.norm.bias)
    nn.init.normal_(model.inner.bias)
    graph = build_graph(model, IMAGE)
    keep = np.random.default_rng(0).random(graph.classes) < 0.6
    for group in graph.groups:
        keep[group.classes[:2]] = True
    expected = compact(graph, Plan.of(graph, keep)).model
    x = torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        want = expected(x)
        zero(graph, keep)
        got = graph.model(x)
    assert float((want - got).abs().max()) < 1e-5 * float(want.abs().max())


def test_weights_that_read_a_zeroed_channel_stay() -> None:
    graph = graph_of()
    keep = np.ones(graph.classes, dtype=bool)
    group = next(g for g in graph.groups if g.name == "layer1.0.conv1")
    keep[group.classes[3]] = False
    reads = graph.model.get_parameter("layer1.0.conv2.weight").detach().clone()
    zero(graph, keep)
    assert torch.equal(graph.model.get_parameter("layer1.0.conv2.weight"), reads)
    writes = graph.model.get_parameter("layer1.0.conv1.weight")
    assert float(writes[3].abs().sum()) == 0 and float(writes[2].abs().sum()) > 0
    assert float(graph.model.get_parameter("layer1.0.bn1.bias")[3]) == 0


def test_it_chooses_anew_after_each_epoch_and_only_then() -> None:
    graph = graph_of()
    soft = SoftPruning(graph, lambda g: score(g, "l2"), Budget.of("flops=0.5", graph), per_epoch=2)
    assert soft.after_step(1) == {"zeroed": 0}
    first = soft.after_step(2)["zeroed"]
    assert first > 0
    weight = graph.model.get_parameter("layer1.0.conv1.weight")
    gone = int(weight.flatten(1).norm(dim=1).argmin())
    assert float(weight[gone].abs().sum()) == 0
    with torch.no_grad():  # it grows back, larger than all others
        weight[gone] = 10.0
    soft.after_step(4)
    assert float(weight[gone].abs().sum()) > 0
    again = SoftPruning(graph, soft.score, soft.budget, 2)
    again.restore(soft.state())
    assert again.zeroed == soft.zeroed
