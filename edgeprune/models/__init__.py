"""Models by name: ResNets, VGG-16, MobileNets, a U-Net, torchvision's networks, and a user's own factory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.errors import ModelError, WeightsError, known

if TYPE_CHECKING:
    from torch import nn

__all__ = ["build", "is_cifar_sized", "load_weights", "model_names"]

CIFAR_DEPTHS = {f"resnet{depth}": depth for depth in (8, 14, 20, 32, 44, 56, 110)}
CIFAR_OTHERS = ("mobilenetv2_cifar", "mobilenetv1_cifar", "vgg16_cifar")
IMAGENET = ("mobilenetv1",)
TORCHVISION = ("mobilenet_v2", "resnet18", "resnet34", "resnet50", "vgg16_bn")
ONE_STAGE = (
    "ssdlite320_mobilenet_v3_large", "ssd300_vgg16", "retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2",
    "fcos_resnet50_fpn",
)  # fmt: skip
TWO_STAGE = (
    "fasterrcnn_mobilenet_v3_large_320_fpn", "fasterrcnn_mobilenet_v3_large_fpn", "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
)  # fmt: skip
DETECTORS = (*ONE_STAGE, *TWO_STAGE)
UNETS = ("unet_small",)
SEGMENTERS = ("lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large")
ELSEWHERE = "or torchvision:NAME for its other networks, or package.module:factory for your own"


def model_names() -> list[str]:
    """Return the names of the built-in models: for CIFAR sizes, for ImageNet sizes, for masks, for boxes.

    No heavy package is imported.
    """
    return [*CIFAR_DEPTHS, *CIFAR_OTHERS, *IMAGENET, *TORCHVISION, *UNETS, *SEGMENTERS, *DETECTORS]


def is_model_name(name: str) -> bool:
    """Return whether a name is one of a model: of the zoo, of torchvision, or of a user's own factory."""
    return ":" in name or name in model_names()


def is_cifar_sized(name: str) -> bool:
    """Return whether the model is for images of 32x32; all others are for 224x224."""
    return name in CIFAR_DEPTHS or name in CIFAR_OTHERS


def check_name(name: str) -> None:
    """Raise ModelError unless a name is one of a model; see `is_model_name`."""
    if not is_model_name(name):
        module = name.removesuffix(".py")
        if module.isidentifier() and Path(f"{module}.py").is_file():
            raise ModelError(
                f"{module}.py is a module: name the function in it that makes the model, as {module}:make"
            )
        raise ModelError(f"{known('model', name, model_names())}; {ELSEWHERE}")


def check_weights_file(path: Path) -> None:
    """Raise WeightsError unless a checkpoint file is there; it is not read."""
    if not path.exists():
        raise WeightsError(f"no such weights file: {path}")
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "no regular file"
        raise WeightsError(f"{path} is {kind}: give the weights file itself")


def build(name: str, *, num_classes: int, in_channels: int = 3, **args: Any) -> nn.Module:
    """Build a model with random weights from torch's global generator.

    Args:
        name: one of `model_names`, ``torchvision:NAME`` or ``package.module:factory``.
        num_classes: number of classes, at least 2.
        in_channels: channels of the images.
        **args: passed on to the model or factory.

    Raises:
        ModelError: for an unknown name, unsupported arguments, or a factory that fails.
    """
    if num_classes < 2:
        raise ModelError(f"a model needs at least 2 classes, not {num_classes}")
    return _builder(name)(num_classes=num_classes, in_channels=in_channels, **args)


def _builder(name: str) -> Callable[..., nn.Module]:
    check_name(name)
    if name in CIFAR_DEPTHS:
        from edgeprune.models.cifar import cifar_resnet

        return partial(cifar_resnet, CIFAR_DEPTHS[name])
    if name in CIFAR_OTHERS or name in IMAGENET:
        return _built_in(name)
    if name.removeprefix("torchvision:") in DETECTORS:
        from edgeprune.models.detectors import torchvision_detector

        return partial(torchvision_detector, name.removeprefix("torchvision:"))
    if name in UNETS:
        from edgeprune.models.unet import unet_small

        return unet_small
    if name in TORCHVISION or name in SEGMENTERS or name.startswith("torchvision:"):
        from edgeprune.models.vision import torchvision_model

        return partial(torchvision_model, name.removeprefix("torchvision:"))
    from edgeprune.models.factory import from_factory

    return partial(from_factory, name)


def _built_in(name: str) -> Callable[..., nn.Module]:
    from edgeprune.models import mobilenet, vgg

    builders: dict[str, Callable[..., nn.Module]] = {
        "mobilenetv1": mobilenet.mobilenetv1,
        "mobilenetv1_cifar": mobilenet.mobilenetv1_cifar,
        "mobilenetv2_cifar": mobilenet.mobilenetv2_cifar,
        "vgg16_cifar": vgg.vgg16_cifar,
    }
    return builders[name]


def load_weights(model: nn.Module, path: str | Path, *, key: str | None = None, of_data: bool = True) -> None:
    """Load a checkpoint in place; see `edgeprune.models.weights.load_weights`.

    Args:
        model: receives the weights.
        path: the checkpoint file.
        key: where in the file the weights are, if several sets fit.
        of_data: whether the model has the classes of a data set.
    """
    from edgeprune.models.weights import load_weights as load

    load(model, path, key=key, of_data=of_data)
