"""MobileNetV1 for ImageNet and CIFAR sizes, MobileNetV2 for CIFAR; ``mobilenet_v2`` is torchvision's.

V1: Howard et al. 2017, "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications",
table 1. Its last depthwise convolution has stride 1: the table's "s2" does not fit the sizes the table gives.
V2: Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", table 2.

The papers define no model for CIFAR. As is usual (kuangliu/pytorch-cifar), the first layers do not subsample:
the stem of V1; the stem and the stage of 24 channels of V2. So 32x32 images end as maps of 2x2 and 4x4.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeprune.models.layers import check_arguments, conv_bn_relu, initialise

STEM = 32
BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1),
)  # fmt: skip
# Of V2 for CIFAR: expansion, channels, repeats, stride; the second stage has stride 2 in the paper.
INVERTED = [
    [1, 16, 1, 1], [6, 24, 2, 1], [6, 32, 3, 2], [6, 64, 4, 2], [6, 96, 3, 1], [6, 160, 3, 2], [6, 320, 1, 1],
]  # fmt: skip
MIN_CHANNELS = 8  # for any width factor, as in the authors' own code


class MobileNetV1(nn.Module):
    """A stem, thirteen blocks of a depthwise and a pointwise convolution, global mean, one linear layer.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images.
        width: factor on all numbers of channels (the paper's alpha).
        stem_stride: 2 for ImageNet, 1 for CIFAR sizes.
    """

    def __init__(
        self, *, num_classes: int, in_channels: int = 3, width: float = 1.0, stem_stride: int = 2
    ) -> None:
        super().__init__()
        channels = max(MIN_CHANNELS, int(STEM * width))
        blocks = [nn.Sequential(*conv_bn_relu(in_channels, channels, 3, stem_stride))]
        for outputs, stride in BLOCKS:
            scaled = max(MIN_CHANNELS, int(outputs * width))
            blocks.append(_separable(channels, scaled, stride))
            channels = scaled
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels, num_classes)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to logits (N, num_classes)."""
        x = F.adaptive_avg_pool2d(self.features(x), 1)
        return self.classifier(torch.flatten(x, 1))


def _separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Build a depthwise 3x3 convolution, then a pointwise one."""
    return nn.Sequential(*conv_bn_relu(inputs, inputs, 3, stride, inputs), *conv_bn_relu(inputs, outputs, 1))


def mobilenetv1(**args: Any) -> MobileNetV1:
    """Build MobileNetV1 for ImageNet sizes.

    Raises:
        ModelError: for arguments that it does not take.
    """
    check_arguments("mobilenetv1", **args)
    return MobileNetV1(**args)


def mobilenetv1_cifar(**args: Any) -> MobileNetV1:
    """Build MobileNetV1 for CIFAR sizes.

    Raises:
        ModelError: for arguments that it does not take.
    """
    check_arguments("mobilenetv1_cifar", **args)
    return MobileNetV1(stem_stride=1, **args)


def mobilenetv2_cifar(**args: Any) -> nn.Module:
    """Build torchvision's MobileNetV2 with first layers that do not subsample.

    ``width`` is the factor on all numbers of channels; they are rounded to multiples of 8, as in the paper's code,
    and the last convolution has at least 1280.

    Raises:
        ModelError: for arguments that it does not take.
    """
    from torchvision.models import MobileNetV2

    check_arguments("mobilenetv2_cifar", **args)
    model = MobileNetV2(
        num_classes=args["num_classes"], width_mult=args.get("width", 1.0), inverted_residual_setting=INVERTED
    )
    outputs = model.features[0][0].out_channels
    model.features[0][0] = nn.Conv2d(args.get("in_channels", 3), outputs, 3, padding=1, bias=False)
    initialise(model.features[0][0])
    return model
