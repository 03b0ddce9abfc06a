"""Build torchvision's classifiers, segmentation networks and detectors by its own names, without its weights."""

from typing import Any

from torch import nn

from edgeprune.errors import ModelError, known

# These two return a tuple in training unless their auxiliary heads are left off.
DEFAULTS = {name: {"aux_logits": False, "init_weights": True} for name in ("googlenet", "inception_v3")}


def torchvision_model(name: str, /, *, num_classes: int, in_channels: int = 3, **args: Any) -> nn.Module:
    """Build ``torchvision.models.NAME``, or that of its segmentation or detection, with random weights.

    Args:
        name: torchvision's name.
        num_classes: number of classes; background is one of them where masks or boxes are learned.
        in_channels: channels of the images, 3.
        **args: passed to torchvision.

    Raises:
        ModelError: torchvision has no such model, or does not accept the arguments.
    """
    from torchvision import models

    classifiers = models.list_models(module=models)
    others = [*models.list_models(module=models.segmentation), *models.list_models(module=models.detection)]
    if name not in classifiers and name not in others:
        raise ModelError(known("torchvision model", name, [*classifiers, *others]))
    if in_channels != 3:
        raise ModelError(f"torchvision's {name} takes images of 3 channels, not {in_channels}")
    defaults = {"weights_backbone": None} if name in others else DEFAULTS.get(name, {})
    try:
        return models.get_model(name, weights=None, num_classes=num_classes, **{**defaults, **args})
    except (TypeError, ValueError) as error:
        raise ModelError(f"torchvision's {name} cannot be built with {args}: {error}") from error
