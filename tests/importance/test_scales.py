"""Network slimming's scores, by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeprune.errors import PlanError
from edgeprune.graph.classes import build_graph
from edgeprune.importance import score


def test_absolute_gammas_and_no_normalisation() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1)
    ).eval()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([0.5, -2.0]))
        model[3].weight.copy_(torch.tensor([0.0, 0.25]))
    graph = build_graph(model, torch.zeros(1, 1, 2, 2))
    np.testing.assert_allclose(score(graph, "bn-scale"), [0.5, 2, 0, 0.25])
    np.testing.assert_allclose(score(graph, "bn-scale", normalise="max"), [0.25, 1, 0, 1])


class Depthwise(nn.Module):
    """A class passes two BatchNorms, the second as a function; a last layer has none."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)
        self.depthwise = nn.Conv2d(2, 2, 1, groups=2)
        self.gamma, self.beta = nn.Parameter(torch.tensor([3.0, 1.0])), nn.Parameter(torch.zeros(2))
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("var", torch.ones(2))
        self.bare, self.head = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(self.norm(self.conv(x)))
        return self.head(self.bare(F.batch_norm(x, self.mean, self.var, self.gamma, self.beta)))


def test_every_batch_norm_counts_and_what_has_none_goes_last() -> None:
    graph = build_graph(Depthwise(), torch.zeros(1, 1, 2, 2))
    np.testing.assert_allclose(score(graph, "bn-scale"), [2, 1, 3, 3])


def test_a_model_without_batch_norm() -> None:
    graph = build_graph(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)), torch.zeros(1, 2))
    with pytest.raises(PlanError, match="needs BatchNorm layers with a scale; this model has none: try l1"):
        score(graph, "bn-scale")
