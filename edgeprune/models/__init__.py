"""Models by name: the CIFAR ResNets, torchvision's classifiers, and a user's own factory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.errors import ModelError, known

if TYPE_CHECKING:
    from torch import nn

__all__ = ["build", "load_weights", "model_names"]

CIFAR_DEPTHS = {f"resnet{depth}": depth for depth in (20, 32, 44, 56, 110)}
TORCHVISION = ("resnet18", "resnet34", "resnet50")
ELSEWHERE = "or torchvision:NAME for its other classifiers, or package.module:factory for your own"


def model_names() -> list[str]:
    """Models known by a plain name, in order of size; listing them imports nothing heavy."""
    return [*CIFAR_DEPTHS, *TORCHVISION]


def build(name: str, *, num_classes: int, in_channels: int = 3, **args: Any) -> nn.Module:
    """Build a model with random weights from torch's global generator.

    Args:
        name: one of `model_names`, ``torchvision:NAME`` or ``package.module:factory``.
        num_classes: width of the logits, at least 2.
        in_channels: channels of the images.
        **args: passed on to the model or factory.

    Raises:
        ModelError: for an unknown name, arguments that do not fit, or a factory that fails.
    """
    if num_classes < 2:
        raise ModelError(f"a classifier needs at least 2 classes, not {num_classes}")
    return _builder(name)(num_classes=num_classes, in_channels=in_channels, **args)


def _builder(name: str) -> Callable[..., nn.Module]:
    if name in CIFAR_DEPTHS:
        from edgeprune.models.cifar import cifar_resnet

        return partial(cifar_resnet, CIFAR_DEPTHS[name])
    if name in TORCHVISION or name.startswith("torchvision:"):
        from edgeprune.models.vision import torchvision_model

        return partial(torchvision_model, name.removeprefix("torchvision:"))
    if ":" in name:
        from edgeprune.models.factory import from_factory

        return partial(from_factory, name)
    raise ModelError(f"{known('model', name, model_names())}; {ELSEWHERE}")


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load a checkpoint in place; see `edgeprune.models.weights.load_weights`."""
    from edgeprune.models.weights import load_weights as load

    load(model, path)
