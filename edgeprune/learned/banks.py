"""The pruning-models of all masked layers: those of one width and size of map are computed together."""

from collections import defaultdict
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from edgeprune.learned.mask import evidence
from edgeprune.learned.masked_layers import MaskedLayers
from edgeprune.learned.pruning_model import SIDE, PruningModelBank


class PruningModelBanks(nn.ModuleDict):
    """A bank for each width and size of map; empty where each layer has a pruning-model of its own."""

    def __init__(self, layers: MaskedLayers, *, together: bool) -> None:
        """Make the banks.

        Args:
            layers: whose channels they score.
            together: False where each has its own pruning-model.
        """
        super().__init__()
        self._layers = layers
        self._members: dict[str, list[int]] = defaultdict(list)  # the layers of each bank
        for index, masked in enumerate(layers):
            at_side = "" if masked.side == SIDE else f" at {masked.side}"
            self._members[f"{len(masked.classes)}{at_side}"].append(index)
        for key, members in self._members.items():
            first = layers[members[0]]
            if together:
                self[key] = PruningModelBank(len(members), len(first.classes), first.side)

    def all_modules(self) -> list[nn.Module]:
        """Return every module inside the pruning-models, of the banks or of the layers."""
        layers = self._layers.layers
        single = [layer.pruning_model for layer in layers if layer.pruning_model is not None]
        return [module for top in [self, *single] for module in top.modules()]

    def evidence(self, maps: list[Tensor], autocast: torch.dtype | None) -> Tensor:
        """Return the evidence of every layer's channels, one layer after the other.

        Args:
            maps: (N, C, H, W) of each layer.
            autocast: dtype to compute in; None for float32, whatever the caller computes in.
        """
        if autocast is None:
            maps = [m.float() for m in maps]
        device = maps[0].device.type
        with torch.autocast(device, dtype=autocast or torch.bfloat16, enabled=autocast is not None):
            values = self.judge(maps)
        return torch.cat([evidence(y.float()) for y in values])

    def judge(self, maps: list[Tensor]) -> list[Tensor]:
        """Return the values (N, C) of each layer's channels, from its maps (N, C, H, W)."""
        values: list[Tensor] = [torch.empty(0)] * len(self._layers)
        for key, members in self._members.items():
            for index, y in zip(members, self._judge(key, members, maps), strict=True):
                values[index] = y
        return values

    def _judge(self, key: str, members: list[int], maps: list[Tensor]) -> Iterator[Tensor]:
        if len(self):
            yield from self[key](torch.cat([maps[i] for i in members], 1))
            return
        for index in members:
            layer = self._layers.layer(self._layers[index])
            yield layer.pruning_model(maps[index])  # type: ignore[misc]
