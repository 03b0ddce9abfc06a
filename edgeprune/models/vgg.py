"""VGG-16 with BatchNorm for CIFAR sizes; ``vgg16_bn``, torchvision's, is the one for ImageNet sizes.

Thirteen 3x3 convolutions by Simonyan and Zisserman 2015 (configuration D). For CIFAR, as in Li et al. 2017
("Pruning Filters for Efficient ConvNets", section 4.1, after Zagoruyko 2015): BatchNorm after each of them
and after the first of two linear layers of 512 inputs, in place of three of up to 25088, and no dropout.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeprune.models.layers import check_arguments, conv_bn_relu, initialise

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions; each ends in a pooling
HIDDEN = 512


class CifarVGG16(nn.Module):
    """Five stages, each halving the image, then two linear layers.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images, which have at least 32x32 pixels: five poolings leave one.
        width: factor on all numbers of channels; 1 in the paper.
    """

    def __init__(self, *, num_classes: int, in_channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for outputs, count in STAGES:
            for _ in range(count):
                scaled = max(1, int(outputs * width))
                layers += conv_bn_relu(channels, scaled, 3)
                channels = scaled
            layers.append(nn.MaxPool2d(2))
        hidden = max(1, int(HIDDEN * width))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(channels, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, num_classes),
        )
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W), H and W at least 32, to logits (N, num_classes)."""
        x = F.adaptive_avg_pool2d(self.features(x), 1)
        return self.classifier(torch.flatten(x, 1))


def vgg16_cifar(**args: Any) -> CifarVGG16:
    """Build VGG-16 for CIFAR sizes.

    Raises:
        ModelError: for arguments that it does not take.
    """
    check_arguments("vgg16_cifar", **args)
    return CifarVGG16(**args)
