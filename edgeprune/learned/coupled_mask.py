"""The one mask of a set of coupled channels, which several layers may read."""

from collections import defaultdict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeprune.graph.classes import Graph
from edgeprune.learned.mask import shared_mask, with_floor
from edgeprune.learned.masked_layers import MaskedLayers


class CoupledMask(nn.Module):
    """The mask of one set of coupled channels, from its consumers' entries in the side-by-side masks.

    Args:
        members: for each layer that judges the set: (indices into the masks, classes of those entries).
        floor: number of channels that stay on.
    """

    classes: Tensor

    def __init__(self, members: list[tuple[NDArray[np.int64], NDArray[np.int64]]], floor: int) -> None:
        super().__init__()
        classes = np.unique(members[0][1])
        self.consumers, self.floor = len(members), floor
        self.register_buffer("classes", torch.from_numpy(classes), persistent=False)
        for number, (index, entries) in enumerate(members):
            place = torch.from_numpy(np.searchsorted(classes, entries))
            self.register_buffer(f"index_{number}", torch.from_numpy(index), persistent=False)
            self.register_buffer(f"place_{number}", place, persistent=False)

    def forward(self, masks: Tensor, before: Tensor) -> Tensor:
        """Return the set's mask: that of its only consumer, or `shared_mask` of all its consumers.

        Args:
            masks: all layers' masks side by side, after their ReLU.
            before: the same before their ReLU.

        Returns:
            (channels of the set,).
        """
        if self.consumers == 1:
            return with_floor(self._row(before, 0), self.floor)
        rows = torch.stack([self._row(masks, number) for number in range(self.consumers)])
        return with_floor(shared_mask(rows), self.floor)

    def _row(self, values: Tensor, number: int) -> Tensor:
        """Return a consumer's entries by class; their mean where it reads a class more than once."""
        values, place = values[getattr(self, f"index_{number}")], getattr(self, f"place_{number}")
        if len(place) == len(self.classes):
            return torch.zeros_like(values).index_copy(0, place, values)
        total = values.new_zeros(len(self.classes)).index_add(0, place, values)
        return total / torch.zeros_like(total).index_add(0, place, torch.ones_like(values))


def coupled_masks(graph: Graph, layers: MaskedLayers, floor: int) -> list[CoupledMask]:
    """Return one for each set of coupled channels that some masked layer judges.

    Args:
        graph: of the network.
        layers: its masked layers.
        floor: number of channels that stay on in every producer.
    """
    by_group: dict[int, list[tuple[NDArray[np.int64], NDArray[np.int64]]]] = defaultdict(list)
    start = 0
    for masked in layers:
        groups = graph.group_of[np.maximum(masked.classes, 0)]
        for group in np.unique(groups[masked.classes >= 0]):
            positions = np.flatnonzero((groups == group) & (masked.classes >= 0))
            by_group[int(group)].append((start + positions, masked.classes[positions]))
        start += len(masked.classes)
    return [CoupledMask(by_group[g], graph.groups[g].least(floor)) for g in sorted(by_group)]


class CoupledMasks(nn.ModuleList):
    """All sets of coupled channels of a network."""

    def forward(self, masks: Tensor, before: Tensor, classes: int) -> Tensor:
        """Return the mask by class from those of single layers: its consumer's own, or the shared one.

        Args:
            masks: of all layers, side by side.
            before: the same, before they were cut off at 0.
            classes: number of the graph's classes; those of no set have mask 1.
        """
        values = torch.cat([coupled(masks, before) for coupled in self])
        places = torch.cat([coupled.classes for coupled in self])  # type: ignore[misc]
        return values.new_ones(classes).index_copy(0, places, values)
