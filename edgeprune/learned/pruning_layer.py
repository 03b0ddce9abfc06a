"""A convolution or linear layer that reads its input channels through a mask."""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from edgeprune.learned.maps import ChannelMaps

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class PruningLayer(nn.Module):
    """The original layer, its weight multiplied by a mask along its input channels; the source's PruningConv2d.

    ``pruning_model`` is the network that scores its input channels, if it has its own (None if a
    `PruningModelBank` scores them together with those of others). ``mask`` is (C_in,), set anew at
    every step. While ``probe`` is a list, the ``maps`` of each call's input are put on it.
    """

    mask: Tensor
    pruning_model: nn.Module | None
    probe: list[Tensor] | None
    maps: ChannelMaps

    @staticmethod
    def attach(
        layer: nn.Module, pruning_model: nn.Module | None = None, maps: ChannelMaps | None = None
    ) -> None:
        """Turn a plain layer into a masked one, until `detach`.

        It stays the same object, with its parameters, hooks and names in a ``state_dict``; only its class changes,
        to a subclass of its own.

        Args:
            layer: one for which `is_prunable` holds.
            pruning_model: scores its judged channels, (N, U, H, W) -> (N, U).
            maps: what it sees; by default each channel along axis 1.
        """
        weight: Tensor = layer.weight  # type: ignore[assignment]
        layer.__class__ = _masked_class(type(layer))  # type: ignore[arg-type]
        layer.pruning_model = pruning_model  # type: ignore[assignment]
        # A plain attribute: an additional buffer would misalign the network's buffers and those of its average.
        layer.mask = torch.ones(weight.shape[input_axis(layer)], device=weight.device)
        layer.probe = None  # type: ignore[assignment]
        layer.maps = maps or ChannelMaps()  # type: ignore[assignment]

    def detach(self) -> None:
        """Undo `attach`; the mask is lost."""
        del self.mask, self.pruning_model, self.probe, self.maps
        self.__class__ = type(self).__mro__[2]  # after the masked class and this one

    def forward(self, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # noqa: A002
        """Run the layer's own forward with weight * mask."""
        if self.probe is not None:
            self.probe.append(self.maps(input.detach()))
        weight = self._parameters["weight"]
        assert weight is not None
        masked = weight * along_inputs(self, self.mask.to(weight.device))
        self._parameters["weight"] = masked  # type: ignore[assignment]
        try:
            return super().forward(input, *args, **kwargs)
        finally:
            self._parameters["weight"] = weight


@cache
def _masked_class(kind: type) -> type:
    """Return the class of a masked layer whose own class is ``kind``."""
    return type(f"Pruning{kind.__name__}", (PruningLayer, kind), {"__module__": kind.__module__})


class ChannelGate(nn.Module):
    """Multiplies channels by 0 or 1 where something without a mask reads them."""

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


def input_axis(layer: nn.Module) -> int:
    """Return the axis of a layer's weight that its input channels index."""
    return 0 if isinstance(layer, TRANSPOSED) else 1


def along_inputs(layer: nn.Module, mask: Tensor) -> Tensor:
    """Return a mask (C_in,) in the shape in which it multiplies the layer's weight."""
    shape = [1] * layer.weight.dim()  # type: ignore[operator]
    shape[input_axis(layer)] = -1
    return mask.view(shape)


def is_prunable(module: Any) -> bool:
    """Return whether a layer is a plain convolution, transposed or not, or linear, so that its inputs can be masked."""
    kind = next((k for k in (*CONVOLUTIONS, *TRANSPOSED, nn.Linear) if isinstance(module, k)), None)
    # A subclass may compute something else, and a weight may be computed by a parametrisation.
    if kind is None or type(module).forward is not kind.forward or "weight" not in module._parameters:
        return False
    if kind in CONVOLUTIONS and type(module)._conv_forward is not kind._conv_forward:
        return False
    return getattr(module, "groups", 1) == 1
