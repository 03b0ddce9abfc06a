"""Least-squares fits on the unpruned network's activations, which are collected once."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from edgeprune.graph.classes import Bools, Graph
from edgeprune.importance.batches import Batches, inputs_of
from edgeprune.importance.sites import run_network
from edgeprune.reconstruct.layers import FittedLayer, layers_of, weights_restored
from edgeprune.reconstruct.ridge import Products, best_change
from edgeprune.reconstruct.sums import HalvedProducts

_MEMORY = 2**30  # bytes of products held at once


class Grams:
    """The normal equations of all layers for 'kernel', collected once and used for many plans.

    They take 16 bytes for each pair of weights that an output reads, in every layer that can be fitted.

    Args:
        graph: the traced model.
        batches: images, in the form that criteria use.
        positions: number of sampled positions of each image's output.
        limit: largest number of batches; None for all.
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
        self._equations = [_NormalEquations(layer) for layer in layers_of(graph, positions, seed)]
        _collect(graph, self._equations, batches, limit)

    @contextmanager
    def fitted(self, keep: Bools) -> Iterator[None]:
        """Fit the layers that read dropped channels within the block, and restore their weights at its end."""
        with weights_restored([equations.layer for equations in self._equations]):
            for equations in self._equations:
                if equations.layer.loses(keep):
                    equations.fit(keep)
            yield


def grams_bytes(graph: Graph) -> int:
    """Return the memory that `Grams` of a network take."""
    return sum(_NormalEquations(layer).memory for layer in layers_of(graph, 1, 0))


def by_kernel(
    graph: Graph, keep: Bools, batches: Batches | None, limit: int | None, positions: int, seed: int
) -> int:
    """Fit every layer that loses inputs, in parts that fit into memory, and return their number.

    Args:
        graph: the traced model; weights are changed in place.
        keep: (classes,) mask of kept classes.
        batches: images, in the form that criteria use.
        limit: largest number of batches; None for all.
        positions: number of sampled positions of each image's output.
        seed: of the sampling.

    Raises:
        PlanError: no batches.
    """
    losing = [_NormalEquations(layer) for layer in layers_of(graph, positions, seed) if layer.loses(keep)]
    for part in _in_parts(losing):
        _collect(graph, part, batches, limit)
        for equations in part:
            equations.fit(keep)
            equations.sums = None
    return len(losing)


class _NormalEquations:
    """The products X^T X of all that one layer reads, for each half of the images."""

    def __init__(self, layer: FittedLayer) -> None:
        self.layer = layer
        self.sums: HalvedProducts | None = None

    @property
    def memory(self) -> int:
        """Size in bytes."""
        return 2 * 8 * self.layer.groups * self.layer.width**2

    def begin(self) -> None:
        self.sums = HalvedProducts(self.layer.groups, self.layer.width, self.layer.parameter.device)

    def add(self, value: Tensor) -> None:
        """Add the layer's input of one batch."""
        assert self.sums is not None
        self.sums.add(self.layer.rows(value), len(value))

    def fit(self, keep: Bools) -> None:
        """Fit the kept inputs to what the dropped ones gave, and write the result into the layer."""
        layer = self.layer
        assert self.sums is not None
        kept = layer.kept(keep).to(layer.parameter.device)
        first, second = (
            self._products(total, samples, kept)
            for total, samples in zip(self.sums.halves, self.sums.samples, strict=True)
        )
        layer.put(kept, best_change((first, second)))

    def _products(self, total: Tensor, samples: int, kept: Tensor) -> Products:
        dropped = torch.ones(self.layer.width, dtype=torch.bool, device=kept.device)
        dropped[kept] = False
        weight = self.layer.weight.double()[:, :, dropped].transpose(1, 2)
        rows = total[:, kept]
        lost = total[:, dropped][:, :, dropped] @ weight
        return Products(rows[:, :, kept], rows[:, :, dropped] @ weight, float((weight * lost).sum()), samples)


def _in_parts(losing: list[_NormalEquations]) -> Iterator[list[_NormalEquations]]:
    part: list[_NormalEquations] = []
    for equations in losing:
        if part and sum(other.memory for other in [*part, equations]) > _MEMORY:
            yield part
            part = []
        part.append(equations)
    if part:
        yield part


def _collect(graph: Graph, part: list[_NormalEquations], batches: Batches | None, limit: int | None) -> None:
    for equations in part:
        equations.begin()
    for inputs in inputs_of(batches, "reconstruction", limit):
        with torch.no_grad():
            run_network(graph, inputs, before={each.layer.consumer.node: each.add for each in part})
