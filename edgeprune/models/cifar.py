"""CIFAR ResNets of He et al. 2016 (section 4.2), with the zero-padding shortcut (option A)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeprune.errors import ModelError


class Block(nn.Module):
    """Two 3x3 convolutions; where the number of channels grows, the shortcut is subsampled and zero-padded."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (outputs - inputs) // 2
        self.after = outputs - inputs - self.before
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H/stride, W/stride)."""
        inner = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(inner)) + self.shortcut(x))

    def shortcut(self, x: Tensor) -> Tensor:
        """Return ``x`` itself, or every second pixel of it between zero channels."""
        if self.stride == 1:
            return x
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


class CifarResNet(nn.Module):
    """Stem, three stages of ``blocks`` blocks with w, 2w, 4w channels, global mean, one linear layer.

    Args:
        blocks: per stage; the depth is 6 * blocks + 2.
        num_classes: number of logits.
        in_channels: channels of the images.
        width: channels of the first stage; 16 in the paper.
    """

    def __init__(self, blocks: int, *, num_classes: int, in_channels: int = 3, width: int = 16) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(blocks, width, width, stride=1)
        self.layer2 = _stage(blocks, width, 2 * width, stride=2)
        self.layer3 = _stage(blocks, 2 * width, 4 * width, stride=2)
        self.linear = nn.Linear(4 * width, num_classes)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to logits (N, num_classes)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)
        return self.linear(x)


def _stage(blocks: int, inputs: int, outputs: int, *, stride: int) -> nn.Sequential:
    rest = [Block(outputs, outputs, 1) for _ in range(blocks - 1)]
    return nn.Sequential(Block(inputs, outputs, stride), *rest)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight)


def cifar_resnet(depth: int, /, **args: Any) -> CifarResNet:
    """Build a ResNet of ``depth`` = 6n + 2 layers.

    Raises:
        ModelError: for arguments that it does not take.
    """
    try:
        return CifarResNet((depth - 2) // 6, **args)
    except TypeError as error:
        raise ModelError(f"resnet{depth} takes num_classes, in_channels and width: {error}") from error
