"""The layers that can be fitted to do without some of their inputs."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from edgeprune.graph.classes import Bools, Graph, Ints
from edgeprune.graph.flow import Reader
from edgeprune.importance.contributions import Geometry, geometry_of, places_of
from edgeprune.importance.filters import has_own_weight

RIDGE = 1e-6  # of the mean diagonal: channels that repeat each other exactly leave the fit solvable


class Layer:
    """A convolution or linear layer, what it reads, and samples of that.

    Args:
        reader: the layer.
        parameter: its weight.
        geometry: how it walks over its input.
        classes: of each input channel of a group, -1 where it always stays.
        positions: places of the output sampled in each image.
        seed: of that sampling; a layer draws the same places in each pass over the same images.
    """

    def __init__(
        self,
        reader: Reader,
        parameter: torch.nn.Parameter,
        geometry: Geometry,
        classes: Ints,
        positions: int,
        seed: int,
    ) -> None:
        self.reader, self.parameter, self.groups = reader, parameter, geometry.groups
        self._geometry, self._classes, self._positions, self._seed = geometry, classes, positions, seed
        self._taps = parameter[0, 0].numel()
        self.width = parameter.shape[1] * self._taps
        self._generator = torch.Generator()
        self.rewind()

    def rewind(self) -> None:
        """Begin another pass over the same images."""
        self._generator.manual_seed(self._seed)

    @property
    def weight(self) -> Tensor:
        """(groups, outputs of a group, inputs of a group times kernel positions)."""
        return self.parameter.detach().reshape(self.groups, -1, self.width)

    def rows(self, value: Tensor) -> Tensor:
        """The layer's input at sampled places: (groups, rows, inputs of a group times kernel positions)."""
        found = self._geometry.sample(value.detach(), self._positions, self._generator)
        return found.flatten(2).transpose(0, 1)

    def beside(self, other: Tensor) -> Tensor:
        """A value shaped like the layer's output, (N, C, H, W), at the places of the next `rows`.

        Returns:
            (groups, rows, outputs of a group).
        """
        state = self._generator.get_state()
        place = places_of(len(other), other[0, 0].numel(), self._positions, self._generator)
        self._generator.set_state(state)
        found = other.detach().flatten(2)[torch.arange(len(other))[:, None], :, place]
        return found.flatten(0, 1).unflatten(1, (self.groups, -1)).transpose(0, 1)

    def alive(self, keep: Bools) -> Bools:
        """Which input channels of a group stay."""
        return np.append(keep, True)[self._classes]

    def loses(self, keep: Bools) -> bool:
        """Whether it reads dropped channels, and kept ones too."""
        alive = self.alive(keep)
        return bool(not alive.all() and alive.any())

    def kept(self, keep: Bools) -> Tensor:
        """Indices of what stays along the weight's last axis."""
        return torch.from_numpy(np.flatnonzero(np.repeat(self.alive(keep), self._taps)))

    def put(self, kept: Tensor, left: Tensor, right: Tensor) -> None:
        """Solve left W'^T = right for each group, and put W' into the layer: 0 where it reads dropped ones.

        Where the samples say nothing, the weights stay what they were.

        Args:
            kept: indices of what stays, (k,).
            left: (groups, k, k) products of what stays.
            right: (groups, k, outputs of a group), its products with what the outputs should be.
        """
        diagonal = left.diagonal(dim1=1, dim2=2)
        ridge = RIDGE * diagonal.mean(1, keepdim=True) + 1e-12
        diagonal.add_(ridge)
        before = self.weight[:, :, kept].to(right).transpose(1, 2)
        solved = torch.linalg.solve(left, right + ridge[:, :, None] * before)
        if not bool(torch.isfinite(solved).all()):
            return
        new = torch.zeros_like(self.weight)
        new[:, :, kept] = solved.transpose(1, 2).to(new)
        with torch.no_grad():
            self.parameter.copy_(new.reshape(self.parameter.shape))


@contextmanager
def weights_put_back(layers: Sequence[Layer]) -> Iterator[None]:
    """However the layers are fitted within it, afterwards they are as before."""
    whole = [layer.parameter.detach().clone() for layer in layers]
    try:
        yield
    finally:
        with torch.no_grad():
            for layer, weight in zip(layers, whole, strict=True):
                layer.parameter.copy_(weight)


def layers_of(graph: Graph, positions: int, seed: int) -> list[Layer]:
    """Every layer that can be fitted: convolutions over 1 or 2 axes and linear layers, used once."""
    uses = Counter(reader.weight for reader in graph.flow.readers)
    parameters = dict(graph.model.named_parameters())
    found = []
    for reader in graph.flow.readers:
        name, geometry = reader.weight, geometry_of(reader)
        if name is None or geometry is None or graph.flow.outputs.get(name) != 0:
            continue
        classes = graph.slots[name, 1]
        if not (classes >= 0).any() or name not in parameters or not has_own_weight(graph, reader):
            continue
        if uses[name] > 1:  # a layer used twice has two outputs to keep
            continue
        found.append(Layer(reader, parameters[name], geometry, classes, positions, seed))
    return found
