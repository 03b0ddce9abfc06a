"""Shared parts of the built-in VGG and MobileNets: convolution blocks, initial weights, argument checks."""

import math
from typing import Any

from torch import nn

from edgeprune.errors import ModelError


def conv_bn_relu(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Build a convolution that keeps the image size (but for its stride), BatchNorm in place of a bias, and ReLU.

    Args:
        inputs: channels.
        outputs: channels.
        kernel: odd side length.
        stride: of the convolution.
        groups: of the convolution; ``inputs`` for a depthwise one.
    """
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def initialise(module: nn.Module) -> None:
    """Initialise weights as torchvision's VGG and MobileNetV2 do; for `nn.Module.apply`."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def check_arguments(
    name: str,
    /,
    *,
    num_classes: int,  # noqa: ARG001
    in_channels: int = 3,  # noqa: ARG001
    width: float = 1.0,
    **other: Any,
) -> None:
    """Check the arguments of a built-in model.

    Args:
        name: of the model, for messages.
        num_classes: any value; required.
        in_channels: any value.
        width: factor on the numbers of channels, above 0.
        **other: arguments that the model does not take.

    Raises:
        ModelError: there are other arguments, or ``width`` is not a finite number above 0.
    """
    if other:
        raise ModelError(f"{name} takes num_classes, in_channels and width, not {', '.join(other)}")
    if not (isinstance(width, int | float) and 0 < width < math.inf):
        raise ModelError(f"{name}: width is a factor above 0, not {width!r}")
