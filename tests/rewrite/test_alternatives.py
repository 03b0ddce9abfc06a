"""Methods that an exporter puts in forward's place, of modules that were cut."""

import copy
import io
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgeprune
from edgeprune.graph.plan import Plan


class Split(nn.Module):
    """As Ultralytics' C2f: two ways to halve the same channels."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.c = width
        self.enter, self.inner = nn.Conv2d(3, 2 * width, 1), nn.Conv2d(width, width, 3, padding=1)
        self.leave = nn.Conv2d(3 * width, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.enter(x).chunk(2, 1))
        parts.append(self.inner(parts[-1]))
        return self.leave(torch.cat(parts, 1).relu())

    def forward_split(self, x: Tensor) -> Tensor:
        first, second = self.enter(x).split((self.c, self.c), 1)
        return self.leave(torch.cat([first, second, self.inner(second)], 1).relu())


class Around(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block, self.untouched = Split(), Split()

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x) + self.untouched(x)


def swapped(model: Any, x: Tensor) -> Tensor:
    """What the network gives in an exporter's hands."""
    model = copy.deepcopy(model)
    for part in model.modules():
        if isinstance(part, Split):
            part.forward = part.forward_split
    return model(x)


def pruned(first: int, second: int) -> tuple[Any, Tensor]:
    """A network of which one block loses so many channels of its halves, in the user's own object."""
    torch.manual_seed(0)
    model, x = Around().eval(), torch.randn(2, 3, 8, 8)
    graph = edgeprune.trace(model, x, ignore=["untouched", "block.inner"])
    keep = np.ones(graph.classes, dtype=bool)
    for group, count in zip(graph.groups, (first, second), strict=True):
        keep[group.classes[:count]] = False
    return edgeprune.compact(model, graph, Plan.of(graph, keep), in_place=True), x


@pytest.mark.parametrize("halves", [(4, 4), (6, 2)])
def test_an_exporters_forward_is_that_of_the_cut_network(halves: tuple[int, int]) -> None:
    model, x = pruned(*halves)
    assert model.block.enter.out_channels == 16 - sum(halves)
    assert ("forward" in vars(model.block)) == (
        halves[0] != halves[1]
    )  # written anew where the halves differ
    expected = model(x)
    assert torch.equal(swapped(model, x), expected)
    again = torch.load(io.BytesIO(saved(model)), weights_only=False)
    assert torch.equal(swapped(again, x), expected)


def saved(model: nn.Module) -> bytes:
    file = io.BytesIO()
    torch.save(model, file)
    return file.getvalue()


def test_modules_that_were_not_cut_keep_their_own() -> None:
    model, _ = pruned(4, 4)
    assert "forward_split" in vars(model.block) and "forward_split" not in vars(model.untouched)
