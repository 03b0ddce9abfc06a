"""A record says whether the network can make other calls at another image size."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeprune.recording.network import watch


class Net(nn.Module):
    def __init__(self, ask: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.conv, self.norm, self.ask = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), ask

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(F.relu(self.norm(self.conv(x))), 1)
        self.ask(x)
        return torch.flatten(x, 1)


@pytest.mark.parametrize(
    "ask", [lambda x: x.dim(), lambda x: x.dtype, lambda x: x.requires_grad, lambda x: 0]
)
def test_it_asks_for_no_size(ask: Callable[[Tensor], object]) -> None:
    assert watch(Net(ask).eval(), (torch.zeros(1, 3, 8, 8),)).size_free


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: x.shape[2],
        lambda x: x.size(-1),
        lambda x: x.numel(),
        len,
        lambda x: x.stride(),
        lambda x: list(x),
        lambda x: x.unbind(2),
        lambda x: x.split(1, 3),
        lambda x: x.is_contiguous(),
        lambda x: f"{x}",
    ],
)
def test_it_asks_for_a_size_or_is_given_one(ask: Callable[[Tensor], object]) -> None:
    assert not watch(Net(ask).eval(), (torch.zeros(1, 3, 8, 8),)).size_free
