"""Criteria against values worked out by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune.errors import PlanError
from edgeprune.graph.classes import build_graph
from edgeprune.importance import CRITERIA, score


def two_layers() -> nn.Sequential:
    """Filters of the first layer: [1, -1], [2, 0], [0, 0] as 1x1 convolutions of two inputs."""
    model = nn.Sequential(nn.Conv2d(2, 3, 1, bias=False), nn.ReLU(), nn.Conv2d(3, 2, 1, bias=False)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -1.0], [3.0, 0.0], [0.0, 0.0]])[:, :, None, None])
    return model


def test_l1_and_l2_by_hand() -> None:
    graph = build_graph(two_layers(), torch.zeros(1, 2, 4, 4))
    # |1| + |-1| = 2, 3, 0; mean 5/3. Norms sqrt(2), 3, 0; mean (sqrt(2) + 3) / 3.
    np.testing.assert_allclose(score(graph, "l1"), np.array([2, 3, 0]) / (5 / 3))
    np.testing.assert_allclose(score(graph, "l2"), np.array([2**0.5, 3, 0]) / ((2**0.5 + 3) / 3))


def test_coupled_layers_are_averaged() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(1, 2, 1, bias=False)
            self.head = nn.Conv2d(2, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.a(x) + self.b(x))

    model = Residual().eval()
    with torch.no_grad():
        model.a.weight.copy_(torch.tensor([1.0, 3.0]).view(2, 1, 1, 1))  # mean 2: 0.5, 1.5
        model.b.weight.copy_(torch.tensor([6.0, 2.0]).view(2, 1, 1, 1))  # mean 4: 1.5, 0.5
    graph = build_graph(model, torch.zeros(1, 1, 4, 4))
    np.testing.assert_allclose(score(graph, "l1"), [1.0, 1.0])


def test_ssl_takes_the_groups_on_both_sides() -> None:
    model = two_layers()
    with torch.no_grad():
        model[2].weight.copy_(torch.tensor([[3.0, 0.0, 1.0], [4.0, 0.0, 0.0]])[:, :, None, None])
    graph = build_graph(model, torch.zeros(1, 2, 4, 4))
    # Filters sqrt(2), 3, 0; columns by which they are read 5, 0, 1.
    scores = score(graph, "ssl", normalise="none", reduction="sum")
    np.testing.assert_allclose(scores, [2**0.5 + 5, 3, 1], rtol=1e-6)


def test_channels_that_no_layer_writes_are_judged_by_what_reads_them() -> None:
    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(4, 1, 1, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(nn.functional.pad(self.a(x), (0, 0, 0, 0, 1, 1)))

    model = Padded().eval()
    with torch.no_grad():
        model.b.weight.copy_(torch.tensor([1.0, -2.0, 3.0, 0.0]).view(1, 4, 1, 1))
    graph = build_graph(model, torch.zeros(1, 1, 4, 4))
    read = graph.param_axes["b.weight", 1]
    np.testing.assert_allclose(score(graph, "l1", normalise="none")[read], [1, 2, 3, 0])


def test_random_repeats_by_seed() -> None:
    graph = build_graph(two_layers(), torch.zeros(1, 2, 4, 4))
    assert (score(graph, "random", seed=3) == score(graph, "random", seed=3)).all()
    assert not (score(graph, "random", seed=3) == score(graph, "random", seed=4)).all()


def test_unknown_names_and_wrong_shapes() -> None:
    graph = build_graph(two_layers(), torch.zeros(1, 2, 4, 4))
    with pytest.raises(PlanError, match="known: " + ", ".join(sorted(CRITERIA))):
        score(graph, "magic")
    with pytest.raises(PlanError, match=r"shape \(2,\); this model has 3 classes"):
        score(graph, lambda g: np.zeros(2))
