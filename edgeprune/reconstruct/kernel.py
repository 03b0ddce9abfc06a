"""Fits on the whole network's activations, which are collected once."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from edgeprune.graph.classes import Bools, Graph
from edgeprune.importance.batches import Batches, inputs_of
from edgeprune.importance.sites import run
from edgeprune.reconstruct.layers import Layer, layers_of, weights_put_back

_MEMORY = 2**30  # bytes of products held at once


class Grams:
    """What 'kernel' needs of the whole network, taken once and used for many plans.

    Takes 8 bytes for each pair of weights that one output reads, of every layer that can be fitted.

    Args:
        graph: the traced model.
        batches: images, as criteria take them.
        positions: places of the output sampled in each image.
        limit: at most this many batches.
        seed: of that sampling.

    Raises:
        PlanError: no batches.
    """

    def __init__(
        self,
        graph: Graph,
        batches: Batches | None,
        *,
        positions: int = 10,
        limit: int | None = None,
        seed: int = 0,
    ) -> None:
        self._products = [_Products(layer) for layer in layers_of(graph, positions, seed)]
        _collect(graph, self._products, batches, limit)

    @contextmanager
    def fitted(self, keep: Bools) -> Iterator[None]:
        """Within it, layers that read dropped channels are fitted to do without; then they are as before."""
        with weights_put_back([one.layer for one in self._products]):
            for one in self._products:
                if one.layer.loses(keep):
                    one.fit(keep)
            yield


def by_kernel(
    graph: Graph, keep: Bools, batches: Batches | None, limit: int | None, positions: int, seed: int
) -> int:
    """Fit every layer that loses inputs, so many at once as memory is meant for; returns how many."""
    losing = [_Products(layer) for layer in layers_of(graph, positions, seed) if layer.loses(keep)]
    for part in _in_parts(losing):
        _collect(graph, part, batches, limit)
        for one in part:
            one.fit(keep)
            one.sum = torch.zeros(0)
    return len(losing)


class _Products:
    """The normal equations of one layer: A = X^T X for each group, then W' = W A_all,S A_SS^-1."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.sum = torch.zeros(0)

    @property
    def memory(self) -> int:
        """Bytes they take."""
        return 8 * self.layer.groups * self.layer.width**2

    def begin(self) -> None:
        width, device = self.layer.width, self.layer.parameter.device
        self.sum = torch.zeros(self.layer.groups, width, width, dtype=torch.float64, device=device)

    def add(self, value: Tensor) -> None:
        """Take the layer's input of one batch."""
        rows = self.layer.rows(value).to(self.sum)
        self.sum.baddbmm_(rows.transpose(1, 2), rows)

    def fit(self, keep: Bools) -> None:
        """Solve for what stays, and put the result into the layer; what was taken in remains."""
        kept = self.layer.kept(keep).to(self.sum.device)
        rows = self.sum[:, kept]
        self.layer.put(kept, rows[:, :, kept], rows @ self.layer.weight.double().transpose(1, 2))


def _in_parts(products: list[_Products]) -> Iterator[list[_Products]]:
    part: list[_Products] = []
    for one in products:
        if part and sum(other.memory for other in [*part, one]) > _MEMORY:
            yield part
            part = []
        part.append(one)
    if part:
        yield part


def _collect(graph: Graph, products: list[_Products], batches: Batches | None, limit: int | None) -> None:
    for one in products:
        one.begin()
    for inputs in inputs_of(batches, "reconstruction", limit):
        with torch.no_grad():
            run(graph, inputs, before={one.layer.reader.node: one.add for one in products})
