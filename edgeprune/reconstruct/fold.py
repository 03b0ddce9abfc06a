"""Folding: what a dropped channel shares with the kept ones moves into the weights that read those."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from edgeprune.graph.classes import Bools
from edgeprune.importance.contributions import samples_of
from edgeprune.importance.sites import as_maps
from edgeprune.reconstruct.equations import Equations
from edgeprune.reconstruct.layers import FittedLayer


class FoldEquations(Equations):
    """The products of the channels that one layer reads, at the same positions in all channels.

    Args:
        layer: that is fitted.
        positions: number of sampled positions of each image's feature maps.
        generator: draws them.
    """

    def __init__(self, layer: FittedLayer, positions: int, generator: torch.Generator) -> None:
        super().__init__(layer, layer.parameter.shape[1])
        self._positions, self._generator = positions, generator

    @classmethod
    def of(cls, layers: Sequence[FittedLayer], positions: int, seed: int) -> "list[FoldEquations]":
        """Return the equations of layers, which draw their positions in turn.

        Args:
            layers: that are fitted.
            positions: number of sampled positions of each image's feature maps.
            seed: of that sampling.
        """
        generator = torch.Generator().manual_seed(seed)
        return [cls(layer, positions, generator) for layer in layers]

    def rows(self, value: Tensor) -> Tensor:
        """Sample channels: (groups, samples, inputs of a group)."""
        maps = as_maps(value.detach(), self.layer.consumer.axis).flatten(2)
        samples = samples_of(maps, self._positions, self._generator)
        return samples.unflatten(1, (self.layer.groups, self.width)).transpose(0, 1)

    def fit(self, keep: Bools) -> None:
        """Add to the weights of kept channels what they carry of the dropped ones', and write the layer's weight."""
        layer = self.layer
        alive = layer.alive(keep)
        kept, dropped = (
            torch.from_numpy(np.flatnonzero(mask)).to(layer.parameter.device) for mask in (alive, ~alive)
        )
        alone = torch.eye(len(dropped), dtype=torch.float64, device=dropped.device)
        shares = self.change(kept, dropped, alone.expand(layer.groups, -1, -1))
        change = None
        if shares is not None:
            weight = layer.weight.unflatten(2, (self.width, -1)).double()
            change = torch.einsum("gkd,godt->gkto", shares, weight[:, :, dropped]).flatten(1, 2)
        layer.put(layer.kept(keep).to(kept.device), change)
