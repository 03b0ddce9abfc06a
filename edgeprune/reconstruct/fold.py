"""Folding: what a dropped channel shares with the kept ones moves into the weights that read those."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgeprune.graph.classes import Bools, Graph
from edgeprune.importance.batches import Batches, inputs_of
from edgeprune.importance.contributions import places_of
from edgeprune.importance.sites import as_maps, run_network
from edgeprune.reconstruct.layers import FittedLayer, layers_of
from edgeprune.reconstruct.ridge import Products, best_change
from edgeprune.reconstruct.sums import HalvedProducts


def by_folding(
    graph: Graph, keep: Bools, batches: Batches | None, limit: int | None, positions: int, seed: int
) -> int:
    """Give what dropped inputs share with kept ones to the weights of those; return how many layers lose inputs.

    Args:
        graph: the traced model; weights are changed in place.
        keep: (classes,) mask of kept classes.
        batches: images, in the form that criteria use.
        limit: largest number of batches; None for all.
        positions: number of sampled positions of each image's feature maps.
        seed: of that sampling.

    Raises:
        PlanError: no batches.
    """
    generator = torch.Generator().manual_seed(seed)
    losing = [
        _Folded(layer, positions, generator)
        for layer in layers_of(graph, positions, seed)
        if layer.loses(keep)
    ]
    for inputs in inputs_of(batches, "reconstruction", limit):
        with torch.no_grad():
            run_network(graph, inputs, before={each.layer.consumer.node: each.add for each in losing})
    for each in losing:
        each.fold(keep)
    return len(losing)


@dataclass
class _Folded:
    """The products of the channels that one layer reads."""

    layer: FittedLayer
    positions: int
    generator: torch.Generator

    def __post_init__(self) -> None:
        self._channels = self.layer.parameter.shape[1]  # of a group
        self._sums = HalvedProducts(self.layer.groups, self._channels, self.layer.parameter.device)

    def add(self, value: Tensor) -> None:
        """Add the layer's input of one batch, at the same positions in all channels."""
        maps = as_maps(value.detach(), self.layer.consumer.axis).flatten(2)
        places = places_of(len(maps), maps.shape[2], self.positions, self.generator)
        rows = maps[torch.arange(len(maps))[:, None], :, places].flatten(0, 1)
        self._sums.add(rows.unflatten(1, (self.layer.groups, self._channels)).transpose(0, 1), len(maps))

    def fold(self, keep: Bools) -> None:
        """Add to the weights of kept channels what they carry of the dropped ones', and write the layer's weight."""
        layer = self.layer
        alive = layer.alive(keep)
        kept, dropped = (
            torch.from_numpy(np.flatnonzero(mask)).to(layer.parameter.device) for mask in (alive, ~alive)
        )
        first, second = (
            Products(
                total[:, kept][:, :, kept],
                total[:, kept][:, :, dropped],
                float(total[:, dropped][:, :, dropped].diagonal(dim1=1, dim2=2).sum()),
                samples,
            )
            for total, samples in zip(self._sums.halves, self._sums.samples, strict=True)
        )
        shares = best_change((first, second))  # (groups, kept, dropped)
        if shares is None:
            layer.put(layer.kept(keep).to(kept.device), None)
            return
        weight = layer.weight.unflatten(2, (self._channels, -1)).double()
        change = torch.einsum("gkd,godt->gkto", shares, weight[:, :, dropped])
        layer.put(layer.kept(keep).to(kept.device), change.flatten(1, 2))
