"""A convolution that reads its input channels through a mask."""

from typing import Any

import torch
from torch import Tensor, nn

from edgeprune.learned.pruning_model import resize


class PruningConv2d(nn.Conv2d):
    """The original convolution, its weight multiplied by a mask along its input channels.

    ``pruning_model`` is the network that judges its input, when it has one of its own (None when the
    convolution is judged by a `PruningModelBank`, which holds many). ``mask`` is (C_in,), set anew at
    every step. While ``probe`` is a list, the resized input of each call is put on it.
    """

    mask: Tensor
    pruning_model: nn.Module | None
    probe: list[Tensor] | None

    @classmethod
    def of(cls, conv: nn.Conv2d, pruning_model: nn.Module | None = None) -> "PruningConv2d":
        """Take over ``conv``: its parameters are shared, not copied."""
        new = cls.__new__(cls)
        nn.Module.__init__(new)
        for name, value in conv.__dict__.items():
            if name not in ("_parameters", "_buffers", "_modules"):
                new.__dict__[name] = value
        new._parameters = conv._parameters
        new.pruning_model = pruning_model
        new.register_buffer("mask", torch.ones(conv.in_channels, device=conv.weight.device), persistent=False)
        new.probe = None
        return new

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Convolve with weight * mask."""
        if self.probe is not None:
            self.probe.append(resize(input.detach()))
        weight = self.weight * self.mask.view(1, -1, 1, 1)
        return self._conv_forward(input, weight, self.bias)


class Gate(nn.Module):
    """Multiplies channels by 0 or 1 where something other than a convolution reads them."""

    gate: Tensor

    def __init__(self, channels: int, axis: int, dims: int) -> None:
        super().__init__()
        shape = [1] * dims
        shape[axis] = channels
        self._shape = tuple(shape)
        self.register_buffer("gate", torch.ones(channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(…, C, …) times the gate."""
        return x * self.gate.view(self._shape).to(x.dtype)


def is_prunable(module: Any) -> bool:
    """Whether a pruning-model can judge this layer's input: a plain 2-D convolution."""
    # A subclass may compute something else; PruningConv2d would not know.
    plain = isinstance(module, nn.Conv2d) and type(module).forward is nn.Conv2d.forward
    return plain and type(module)._conv_forward is nn.Conv2d._conv_forward and module.groups == 1
