"""The layers that can be fitted to work without some of their inputs."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from edgeprune.graph.classes import Bools, Graph, Ints
from edgeprune.graph.flow import Consumer
from edgeprune.importance.contributions import Geometry, geometry_of, samples_of
from edgeprune.importance.filters import has_own_weight


class FittedLayer:
    """A convolution or linear layer, its input channels, and samples of its input.

    Args:
        consumer: the layer.
        parameter: its weight.
        geometry: how it slides over its input.
        classes: class of each input channel of a group, -1 if protected.
        positions: number of sampled positions of each image's output.
        seed: of that sampling; a layer draws the same positions in each pass over the same images.
    """

    def __init__(
        self,
        consumer: Consumer,
        parameter: torch.nn.Parameter,
        geometry: Geometry,
        classes: Ints,
        positions: int,
        seed: int,
    ) -> None:
        self.consumer, self.parameter, self.groups = consumer, parameter, geometry.groups
        self._geometry, self._classes, self._positions, self._seed = geometry, classes, positions, seed
        self._taps = parameter[0, 0].numel()
        self.width = parameter.shape[1] * self._taps
        self._generator = torch.Generator()
        self.rewind()

    def rewind(self) -> None:
        """Restart the sampling for another pass over the same images."""
        self._generator.manual_seed(self._seed)

    @property
    def weight(self) -> Tensor:
        """Weight as (groups, outputs of a group, inputs of a group times kernel positions)."""
        return self.parameter.detach().reshape(self.groups, -1, self.width)

    def rows(self, value: Tensor) -> Tensor:
        """Sample the layer's input: (groups, rows, inputs of a group times kernel positions)."""
        patches = self._geometry.sample(value.detach(), self._positions, self._generator)
        return patches.flatten(2).transpose(0, 1)

    def output_samples(self, value: Tensor) -> Tensor:
        """Sample a value shaped like the layer's output, (N, C, H, W), at the positions of the next `rows`.

        Returns:
            (groups, rows, outputs of a group).
        """
        state = self._generator.get_state()
        samples = samples_of(value.detach().flatten(2), self._positions, self._generator)
        self._generator.set_state(state)
        return samples.unflatten(1, (self.groups, -1)).transpose(0, 1)

    def alive(self, keep: Bools) -> Bools:
        """Return the mask of the input channels of a group that are kept."""
        return np.append(keep, True)[self._classes]

    def loses(self, keep: Bools) -> bool:
        """Return whether the layer reads dropped channels and kept ones."""
        alive = self.alive(keep)
        return bool(not alive.all() and alive.any())

    def kept(self, keep: Bools) -> Tensor:
        """Return the indices along the weight's last axis that are kept."""
        return torch.from_numpy(np.flatnonzero(np.repeat(self.alive(keep), self._taps)))

    def put(self, kept: Tensor, change: Tensor | None) -> None:
        """Add a change to the weights that read kept inputs; those that read dropped ones become 0.

        Args:
            kept: (k,) indices of kept inputs along the weight's last axis.
            change: (groups, k, outputs of a group); None for none.
        """
        new = torch.zeros_like(self.weight)
        new[:, :, kept] = self.weight[:, :, kept]
        if change is not None and bool(torch.isfinite(change).all()):
            new[:, :, kept] = (new[:, :, kept].to(change) + change.transpose(1, 2)).to(new)
        with torch.no_grad():
            self.parameter.copy_(new.reshape(self.parameter.shape))


@contextmanager
def weights_restored(layers: Sequence[FittedLayer]) -> Iterator[None]:
    """Restore the weights of the layers at the end of the block, however they were fitted within it."""
    weights = [layer.parameter.detach().clone() for layer in layers]
    try:
        yield
    finally:
        with torch.no_grad():
            for layer, weight in zip(layers, weights, strict=True):
                layer.parameter.copy_(weight)


def layers_of(graph: Graph, positions: int, seed: int) -> list[FittedLayer]:
    """Return every layer that can be fitted: convolutions over 1 or 2 axes and linear layers, used once.

    Args:
        graph: the traced model.
        positions: number of sampled positions of each image's output.
        seed: of that sampling.
    """
    uses = Counter(consumer.weight for consumer in graph.flow.consumers)
    parameters = dict(graph.model.named_parameters())
    layers = []
    for consumer in graph.flow.consumers:
        name, geometry = consumer.weight, geometry_of(consumer)
        if name is None or geometry is None or graph.flow.outputs.get(name) != 0:
            continue
        classes = graph.param_axes[name, 1]
        if not (classes >= 0).any() or name not in parameters or not has_own_weight(graph, consumer):
            continue
        if uses[name] > 1:  # a layer used twice has two outputs to preserve
            continue
        layers.append(FittedLayer(consumer, parameters[name], geometry, classes, positions, seed))
    return layers
