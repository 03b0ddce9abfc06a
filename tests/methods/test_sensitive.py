"""The method that ranks channels by what the outputs lose without them."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import edgeprune
from edgeprune.errors import PlanError


class Twofold(nn.Module):
    """Two branches of eight channels: the outputs hardly read the second, whose weights are larger."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.ignored = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 3, padding=1)
        self.head, self.other = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1)
        with torch.no_grad():
            self.ignored.weight.mul_(10)
            self.other.weight.mul_(1e-4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.read(x).relu()) + self.other(self.ignored(x).relu())


def _images() -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        yield torch.randn(32, 3, 8, 8, generator=generator), torch.zeros(32, dtype=torch.long)


def _widths(method: str, kind: type[Twofold]) -> dict[str, int]:
    torch.manual_seed(0)
    model = kind()
    pruner = edgeprune.Pruner(
        model,
        torch.zeros(1, 3, 8, 8),
        method=method,
        target="flops=0.6",
        batches=_images,
        steps=1,
        align=1,
    )
    pruner.step()
    small = pruner.finish()
    return {name: layer.out_channels for name, layer in small.named_children()}


def test_channels_go_where_the_outputs_miss_them_least() -> None:
    by_effect, by_weights = _widths("sensitivity", Twofold), _widths("l1", Twofold)
    assert (by_effect["read"], by_effect["ignored"]) == (7, 2)  # the fewest of the one, so many of the other
    assert by_weights["read"] < 7


def test_outputs_of_several_tensors_in_a_dict_are_compared() -> None:
    class Named(Twofold):
        def forward(self, x: Tensor) -> Any:
            return {"sum": super().forward(x), "mean": x.mean((2, 3))}

    assert _widths("sensitivity", Named)["read"] == 7


def test_outputs_that_cannot_be_compared_are_refused_in_a_line() -> None:
    class Counting(Twofold):
        def forward(self, x: Tensor) -> Any:
            return super().forward(x).sum()

    with pytest.raises(PlanError, match="Counting's outputs cannot be compared .* choose another `method`"):
        _widths("sensitivity", Counting)
