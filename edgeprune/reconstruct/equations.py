"""Least squares on the unpruned network's activations, of which a layer needs only the products of what it reads."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from edgeprune.graph.classes import Bools, Graph
from edgeprune.importance.batches import Batches, inputs_of
from edgeprune.importance.sites import run_network
from edgeprune.reconstruct.layers import FittedLayer
from edgeprune.reconstruct.ridge import Products, best_change

_MEMORY = 2**30  # bytes of products held at once


class Equations(ABC):
    """The products X^T X of what one layer reads, for each half of the images; see `ridge.best_change`.

    Args:
        layer: that is fitted.
        width: number of columns of X in a group of the layer.
    """

    def __init__(self, layer: FittedLayer, width: int) -> None:
        self.layer, self.width = layer, width
        self.sums: list[Tensor] = []
        self.samples = [0, 0]

    @abstractmethod
    def rows(self, value: Tensor) -> Tensor:
        """Sample the layer's input of one batch, image by image: (groups, samples, width)."""

    @abstractmethod
    def fit(self, keep: Bools) -> None:
        """Fit the kept inputs to what the dropped ones gave, and write the result into the layer."""

    @property
    def memory(self) -> int:
        """Size in bytes."""
        return 2 * 8 * self.layer.groups * self.width**2

    def begin(self) -> None:
        """Make room for the products."""
        shape, device = (self.layer.groups, self.width, self.width), self.layer.parameter.device
        self.sums = [torch.zeros(shape, dtype=torch.float64, device=device) for _ in range(2)]
        self.samples = [0, 0]

    def add(self, value: Tensor) -> None:
        """Add the layer's input of one batch; half of its images to each sum, or all of one image to one of them."""
        rows = self.rows(value).double()
        images = len(value)
        middle = rows.shape[1] * (images // 2) // images
        if images == 1 and self.samples[0] < self.samples[1]:
            middle = rows.shape[1]
        for half, part in enumerate((rows[:, :middle], rows[:, middle:])):
            self.sums[half].baddbmm_(part.transpose(1, 2), part)
            self.samples[half] += part.shape[1]

    def change(self, kept: Tensor, dropped: Tensor, weight: Tensor) -> Tensor | None:
        """Return C of min ||X_D W - X_S C||^2, (groups, kept, outputs), as `best_change` has it.

        Args:
            kept: indices of the columns S that stay.
            dropped: indices of the columns D that go.
            weight: W, (groups, dropped, outputs), in float64.
        """
        first, second = (
            _products(total, samples, kept, dropped, weight)
            for total, samples in zip(self.sums, self.samples, strict=True)
        )
        return best_change((first, second))


def _products(total: Tensor, samples: int, kept: Tensor, dropped: Tensor, weight: Tensor) -> Products:
    rows = total[:, kept]
    lost = total[:, dropped][:, :, dropped] @ weight
    return Products(rows[:, :, kept], rows[:, :, dropped] @ weight, float((weight * lost).sum()), samples)


def collect(graph: Graph, equations: Sequence[Equations], batches: Batches | None, limit: int | None) -> None:
    """Collect the products of layers in one pass over the images.

    Args:
        graph: the traced model.
        equations: of the layers.
        batches: images, in the form that criteria use.
        limit: largest number of batches; None for all.

    Raises:
        PlanError: no batches.
    """
    for each in equations:
        each.begin()
    for inputs in inputs_of(batches, "reconstruction", limit):
        with torch.no_grad():
            run_network(graph, inputs, before={each.layer.consumer.node: each.add for each in equations})


def fit_in_parts(
    graph: Graph, equations: Sequence[Equations], keep: Bools, batches: Batches | None, limit: int | None
) -> int:
    """Fit layers, as many at once as fit into memory, and return their number.

    Args:
        graph: the traced model; weights are changed in place.
        equations: of the layers.
        keep: (classes,) mask of kept classes.
        batches: images, in the form that criteria use.
        limit: largest number of batches; None for all.

    Raises:
        PlanError: no batches.
    """
    for part in _in_parts(equations):
        collect(graph, part, batches, limit)
        for each in part:
            each.fit(keep)
            each.sums = []
    return len(equations)


def _in_parts(equations: Sequence[Equations]) -> Iterator[list[Equations]]:
    part: list[Equations] = []
    for each in equations:
        if part and sum(other.memory for other in [*part, each]) > _MEMORY:
            yield part
            part = []
        part.append(each)
    if part:
        yield part
