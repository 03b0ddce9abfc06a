"""Where one label stands for several channels, movement is proved on the elements."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.graph.classes import build_graph
from edgeprune.graph.plan import Plan
from edgeprune.rewrite.compaction import compact
from graph.checks import TOLERANCE, disagreement, randomise


class Turned(nn.Module):
    """Blocks of four channels go or stay together; then something moves the channels by its own rule."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.stem = how, nn.Conv2d(3, 16, 3, padding=1)
        self.last = nn.Conv2d(16 if how != "pixels" else 64, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        if self.how == "pixels":  # rows of pixels become channels
            n, c, h, w = x.shape
            return self.last(x.reshape(n, c * 4, h // 4, w).roll(6, 1))
        x = F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2)
        if self.how == "roll":
            return self.last(x.roll(2, 1))
        if self.how == "split":
            a, b = x.split([6, 10], 1)
            return self.last(torch.cat([b, a], 1))
        n, c, h, w = x.shape
        return self.last(x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w))


@pytest.mark.parametrize("how", ["roll", "split", "shuffle", "pixels"])
def test_channels_of_one_label_keep_their_order(how: str) -> None:
    torch.manual_seed(0)
    model, inputs = randomise(Turned(how), 0), (torch.randn(2, 3, 8, 8),)
    graph = build_graph(model, inputs)
    assert graph.classes in (4, 16)
    for seed in range(6):
        keep = np.random.default_rng(seed).random(graph.classes) < 0.6
        keep[seed % graph.classes] = True
        done = compact(graph, Plan.of(graph, keep))
        assert disagreement(graph, done, inputs) <= TOLERANCE
        assert done.plan.keep.sum() < graph.classes or keep.all()
