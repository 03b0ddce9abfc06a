"""Least-squares fits of all weights that read the kept channels, to the output of the unpruned layer."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from edgeprune.graph.classes import Bools, Graph
from edgeprune.importance.batches import Batches
from edgeprune.reconstruct.equations import Equations, collect
from edgeprune.reconstruct.layers import FittedLayer, layers_of, weights_restored


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
        self._equations = [KernelEquations(layer) for layer in layers_of(graph, positions, seed)]
        collect(graph, self._equations, batches, limit)

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
    return sum(KernelEquations(layer).memory for layer in layers_of(graph, 1, 0))


class KernelEquations(Equations):
    """The products of all inputs that one output of a layer reads."""

    def __init__(self, layer: FittedLayer) -> None:
        super().__init__(layer, layer.width)

    def rows(self, value: Tensor) -> Tensor:
        """Sample what outputs read: (groups, samples, inputs of a group times kernel positions)."""
        return self.layer.rows(value)

    def fit(self, keep: Bools) -> None:
        """Fit the kept inputs to what the dropped ones gave, and write the result into the layer."""
        layer = self.layer
        kept = layer.kept(keep).to(layer.parameter.device)
        goes = torch.ones(self.width, dtype=torch.bool, device=kept.device)
        goes[kept] = False
        dropped = goes.nonzero()[:, 0]
        weight = layer.weight.double()[:, :, dropped].transpose(1, 2)
        layer.put(kept, self.change(kept, dropped, weight))
