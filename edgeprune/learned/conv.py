"""A convolution that reads its input channels through a mask."""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from edgeprune.learned.pruning_model import SIDE, resize


class PruningConv2d(nn.Conv2d):
    """The original convolution, its weight multiplied by a mask along its input channels.

    ``pruning_model`` is the network that scores its input channels, if it has its own (None if a
    `PruningModelBank` scores them together with those of others). ``mask`` is (C_in,), set anew at
    every step. While ``probe`` is a list, the input of each call, resized to ``side``, is put on it.
    """

    mask: Tensor
    pruning_model: nn.Module | None
    probe: list[Tensor] | None
    side: int

    @staticmethod
    def attach(conv: nn.Conv2d, pruning_model: nn.Module | None = None, side: int = SIDE) -> None:
        """Turn a plain convolution into a masked one, until `detach`.

        It stays the same object, with its parameters, hooks and names in a ``state_dict``; only its class changes,
        to a subclass of its own.

        Args:
            conv: a layer for which `is_prunable` holds.
            pruning_model: scores its input channels, (N, C, H, W) -> (N, C).
            side: in pixels, to which maps are resized for it.
        """
        conv.__class__ = _masked_class(type(conv))
        conv.pruning_model = pruning_model  # type: ignore[assignment]
        # A plain attribute: an additional buffer would misalign the network's buffers and those of its average.
        conv.mask = torch.ones(conv.in_channels, device=conv.weight.device)
        conv.probe = None  # type: ignore[assignment]
        conv.side = side  # type: ignore[assignment]

    def detach(self) -> None:
        """Undo `attach`; the mask is lost."""
        del self.mask, self.pruning_model, self.probe, self.side
        self.__class__ = type(self).__mro__[1] if type(self) is PruningConv2d else type(self).__mro__[2]

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Convolve with weight * mask."""
        if self.probe is not None:
            self.probe.append(resize(input.detach(), self.side))
        weight = self.weight * self.mask.to(self.weight.device).view(1, -1, 1, 1)
        return self._conv_forward(input, weight, self.bias)


def _masked_class(kind: type) -> type:
    """Return the class of a masked convolution whose own class is ``kind``."""
    return PruningConv2d if kind is nn.Conv2d else _subclass(kind)


@cache
def _subclass(kind: type) -> type:
    return type(f"Pruning{kind.__name__}", (PruningConv2d, kind), {"__module__": kind.__module__})


class ChannelGate(nn.Module):
    """Multiplies channels by 0 or 1 where something other than a convolution reads them."""

    gate: Tensor

    def __init__(self, channels: int, axis: int, dims: int) -> None:
        super().__init__()
        shape = [1] * dims
        shape[axis] = channels
        self._shape = tuple(shape)
        self.register_buffer("gate", torch.ones(channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply (…, C, …) by the gate."""
        return x * self.gate.view(self._shape).to(x.dtype)


def is_prunable(module: Any) -> bool:
    """Return whether a layer is a plain 2-D convolution, whose input channels can be masked."""
    # A subclass may compute something else, and a weight may be computed by a parametrisation.
    plain = isinstance(module, nn.Conv2d) and type(module).forward is nn.Conv2d.forward
    plain = plain and "weight" in module._parameters and module.groups == 1
    return plain and type(module)._conv_forward is nn.Conv2d._conv_forward
