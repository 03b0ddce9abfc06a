"""Shortcuts that pad with zeros, as 1x1 convolutions: Torch-Pruning cannot resize what forward pads."""

import torch
from torch import nn

from edgeprune.models.cifar import Block


class ByConvolution(Block):
    """A block whose zero-padding shortcut is a 1x1 convolution."""

    down: nn.Conv2d

    def shortcut(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(x)


def with_convolutions(model: nn.Module) -> nn.Module:
    """Return the same network with a 1x1 convolution, of zeros and ones, in place of each shortcut that pads."""
    for block in [module for module in model.modules() if isinstance(module, Block) and module.stride > 1]:
        inputs, outputs = block.conv1.in_channels, block.conv1.out_channels
        down = nn.Conv2d(inputs, outputs, 1, block.stride, bias=False)
        nn.init.zeros_(down.weight)
        with torch.no_grad():
            down.weight[torch.arange(inputs) + block.before, torch.arange(inputs)] = 1.0
        block.__class__ = ByConvolution
        block.down = down
    return model
