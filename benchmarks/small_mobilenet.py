"""A MobileNetV2 small enough to be trained on CIFAR-10 by a CPU: what the benchmarks of int8 and of ONNX files prune.

    PYTHONPATH=benchmarks edgeprune train-prune --model small_mobilenet:build --trust small_mobilenet ...

results/small_mobilenet-cifar10.safetensors has its weights, trained for 12 epochs by

    PYTHONPATH=benchmarks edgeprune train-prune --model small_mobilenet:build --trust small_mobilenet --data CIFAR10 \\
        --baseline-epochs 12 --epochs 0 --method l1 --seed 0
"""

from torch import nn
from torchvision.models import MobileNetV2

from edgeprune.models.mobilenet import INVERTED


def build(num_classes: int = 10) -> nn.Module:
    """Build torchvision's MobileNetV2 at 0.35 of its width for 3x32x32 images; its second stage has stride 1."""
    return MobileNetV2(num_classes=num_classes, width_mult=0.35, inverted_residual_setting=INVERTED)
