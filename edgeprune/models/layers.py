"""What VGG and the MobileNets of the zoo share: a convolution's surroundings, first weights, arguments."""

import math
from typing import Any

from torch import nn

from edgeprune.errors import ModelError


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution that keeps the size (but for its stride), BatchNorm in place of its bias, and ReLU."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def initialise(module: nn.Module) -> None:
    """First weights as torchvision's VGG and MobileNetV2 have them; for `nn.Module.apply`."""
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
    """Raise ModelError for arguments that the model ``name`` does not take, or a width that is none."""
    if other:
        raise ModelError(f"{name} takes num_classes, in_channels and width, not {', '.join(other)}")
    if not (isinstance(width, int | float) and 0 < width < math.inf):
        raise ModelError(f"{name}: width is a factor above 0, not {width!r}")
