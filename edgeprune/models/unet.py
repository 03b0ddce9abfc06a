"""A small U-Net for masks.

Contracting and expanding paths with skipped connections, by Ronneberger, Fischer and Brox 2015. Smaller than theirs:
four levels from 16 channels, BatchNorm after each convolution, padded convolutions, so that the mask has the image's
size, and nearest upsampling followed by a convolution in place of a transposed one.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeprune.models.layers import check_arguments, conv_bn_relu, initialise

CHANNELS = (16, 32, 64, 128)


class UNet(nn.Module):
    """Levels of two convolutions, each of half the size of the one before, and back again.

    Args:
        num_classes: number of logits at each pixel.
        in_channels: channels of the images.
        width: factor on all numbers of channels.
    """

    def __init__(self, *, num_classes: int, in_channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        channels = [max(1, int(count * width)) for count in CHANNELS]
        inputs = [in_channels, *channels[:-1]]
        self.down = nn.ModuleList(_level(a, b) for a, b in zip(inputs, channels, strict=True))
        pairs = list(zip(channels[:-1], channels[1:], strict=True))[::-1]
        self.narrow = nn.ModuleList(nn.Sequential(*conv_bn_relu(large, small, 3)) for small, large in pairs)
        self.up = nn.ModuleList(_level(2 * small, small) for small, _ in pairs)
        self.head = nn.Conv2d(channels[0], num_classes, 1)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W), H and W at least 8, to logits (N, num_classes, H, W)."""
        skipped = []
        for level in self.down[:-1]:
            x = level(x)
            skipped.append(x)
            x = F.max_pool2d(x, 2)
        x = self.down[-1](x)
        for narrow, level in zip(self.narrow, self.up, strict=True):
            skip = skipped.pop()
            x = narrow(F.interpolate(x, size=skip.shape[2:], mode="nearest"))
            x = level(torch.cat([skip, x], 1))
        return self.head(x)


def _level(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(*conv_bn_relu(inputs, outputs, 3), *conv_bn_relu(outputs, outputs, 3))


def unet_small(**args: Any) -> UNet:
    """Build the small U-Net.

    Raises:
        ModelError: for arguments that it does not take.
    """
    check_arguments("unet_small", **args)
    return UNet(**args)
