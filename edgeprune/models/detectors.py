"""Build torchvision's detectors by torchvision's own names, for batches of images of one size.

A detector stays an object of torchvision's class: given a list of images it does what torchvision's does. Given a batch
(N, C, H, W) of normalised images it returns boxes and scores as tensors, so that it is watched, pruned, measured and
exported like any other network; given targets as well, its losses.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FasterRCNN
from torchvision.models.detection.fcos import FCOS
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.models.detection.ssd import SSD

from edgeprune.errors import ModelError, known
from edgeprune.models import DETECTORS

Losses = dict[str, Tensor]
Heads = dict[str, Tensor]
SMALLEST = 32  # pixels of a side: five halvings


class Detector(nn.Module):
    """What all detectors have in common, beside torchvision's class.

    Attributes:
        image_shape: (height, width) of the images that its anchors are for.
        grids: (height, width) of each of its feature maps, for such images.
        anchors: (anchors, 4), x1, y1, x2, y2 in pixels of such images.
    """

    image_shape: tuple[int, int]
    grids: tuple[tuple[int, int], ...]
    anchors: Tensor
    # Torchvision's, which have no types of their own.
    backbone: Any
    head: Any
    anchor_generator: Any
    box_coder: Any
    proposal_matcher: Any
    compute_loss: Any

    def forward(self, images: Any, targets: Any = None) -> Any:
        """Return boxes and scores of a batch, or its losses; for a list of images what torchvision returns.

        Args:
            images: normalised, (N, C, H, W); or a list of images from 0 to 1, each (C, H, W).
            targets: for a batch, dicts of ``boxes`` (n, 4), x1, y1, x2, y2 in pixels, and ``labels`` (n,) from 0; for
                a list, those of torchvision, whose labels count from 1.

        Returns:
            For a batch without targets ``{"boxes": (N, anchors, 4), "scores": (N, anchors, classes)}``; in training
            mode the head's tensors, of which these are made. With targets the losses by name.
        """
        if not isinstance(images, Tensor):
            return super().forward(images, targets)
        heads = self.head(list(self.backbone(images).values()))
        if targets is not None:
            return self.losses(heads, targets)
        return heads if self.training else self.decoded(heads)

    def losses(self, heads: Heads, targets: Sequence[Heads]) -> Losses:
        """Return the losses of a batch by name, scalars.

        Args:
            heads: the head's tensors for the batch.
            targets: of each image: ``boxes`` (n, 4), ``labels`` (n,) from 0.
        """
        heads = self._checked(heads)
        one_based = [{"boxes": target["boxes"], "labels": target["labels"] + 1} for target in targets]
        return self._losses(heads, one_based)

    def decoded(self, heads: Heads) -> Heads:
        """Return boxes (N, anchors, 4), x1, y1, x2, y2 in pixels, and scores (N, anchors, classes) from 0 to 1."""
        heads = self._checked(heads)
        return {
            "boxes": self.inside(self._boxes(heads["bbox_regression"])),
            "scores": self._scores(heads)[:, :, 1:],
        }

    def inside(self, boxes: Tensor) -> Tensor:
        """Return boxes (..., 4), x1, y1, x2, y2, that end where the image does."""
        height, width = self.image_shape
        x1, y1, x2, y2 = boxes.unbind(-1)
        parts = [x1.clamp(0, width), y1.clamp(0, height), x2.clamp(0, width), y2.clamp(0, height)]
        return torch.stack(parts, -1)

    def anchors_of(self, images: ImageList, features: list[Tensor]) -> Tensor:
        """Return the anchors (anchors, 4) of an image.

        Args:
            images: a batch of one.
            features: maps of it.
        """
        anchors: Tensor = self.anchor_generator(images, features)[0]
        return anchors

    def check_places(self, places: int) -> None:
        """Raise ModelError unless an image has as many places as anchors."""
        if places != len(self.anchors):
            height, width = self.image_shape
            raise ModelError(
                f"the detector gives {places} boxes an image, its anchors for {width}x{height} pixels are "
                f"{len(self.anchors)}: give it images of that size"
            )

    def _checked(self, heads: Heads) -> Heads:
        """Return the head's tensors in float32."""
        self.check_places(heads["cls_logits"].shape[1])
        return {name: tensor.float() for name, tensor in heads.items()}

    def _losses(self, heads: Heads, targets: list[Heads]) -> Losses:
        raise NotImplementedError

    def _boxes(self, codes: Tensor) -> Tensor:
        raise NotImplementedError

    def _scores(self, heads: Heads) -> Tensor:
        """Return scores (N, anchors, 1 + classes), the background first."""
        raise NotImplementedError


def decoded_boxes(codes: Tensor, anchors: Tensor, weights: Sequence[float]) -> Tensor:
    """Decode offsets from anchors, as torchvision's BoxCoder does, for a batch.

    Args:
        codes: (N, anchors, 4).
        anchors: (anchors, 4), or of a shape that is broadcast to that of ``codes``.
        weights: by which the offsets were multiplied.
    """
    size, corner = anchors[..., 2:] - anchors[..., :2], anchors[..., :2]
    scale = codes.new_tensor(weights)
    centre = corner + size / 2 + codes[..., :2] / scale[:2] * size
    half = torch.exp((codes[..., 2:] / scale[2:]).clamp(max=LARGEST_LOG)) * size / 2
    return torch.cat([centre - half, centre + half], -1)


LARGEST_LOG = 4.135166556742356  # log(1000 / 16), torchvision's bound of the growth of an anchor


class SSDDetector(Detector, SSD):
    """SSD and SSDlite."""

    def _losses(self, heads: Heads, targets: list[Heads]) -> Losses:
        from torchvision.ops import box_iou

        matches = [
            self.proposal_matcher(box_iou(target["boxes"], self.anchors))
            if len(target["boxes"])
            else torch.full((len(self.anchors),), -1, dtype=torch.int64, device=self.anchors.device)
            for target in targets
        ]
        return self.compute_loss(targets, heads, [self.anchors] * len(targets), matches)

    def _boxes(self, codes: Tensor) -> Tensor:
        return decoded_boxes(codes, self.anchors, self.box_coder.weights)

    def _scores(self, heads: Heads) -> Tensor:
        return heads["cls_logits"].softmax(-1)


class RetinaNetDetector(Detector, RetinaNet):
    """RetinaNet."""

    def _losses(self, heads: Heads, targets: list[Heads]) -> Losses:
        return self.compute_loss(targets, heads, [self.anchors] * len(targets))

    def _boxes(self, codes: Tensor) -> Tensor:
        return decoded_boxes(codes, self.anchors, self.box_coder.weights)

    def _scores(self, heads: Heads) -> Tensor:
        return heads["cls_logits"].sigmoid()


class FCOSDetector(Detector, FCOS):
    """FCOS: four distances to a box's sides at each place, and how central the place is."""

    def _losses(self, heads: Heads, targets: list[Heads]) -> Losses:
        sizes = [height * width for height, width in self.grids]
        return self.compute_loss(targets, heads, [self.anchors] * len(targets), sizes)

    def _boxes(self, codes: Tensor) -> Tensor:
        anchors = self.anchors
        size, centre = anchors[:, 2:] - anchors[:, :2], (anchors[:, :2] + anchors[:, 2:]) / 2
        distances = codes * torch.cat([size, size], 1)
        return torch.cat([centre - distances[..., :2], centre + distances[..., 2:]], -1)

    def _scores(self, heads: Heads) -> Tensor:
        return (heads["cls_logits"].sigmoid() * heads["bbox_ctrness"].sigmoid()).sqrt()


def _kind_of(model: nn.Module) -> type:
    """Return the class of a detector for batches."""
    from edgeprune.models.two_stage import FasterRCNNDetector

    kinds = {
        SSD: SSDDetector,
        RetinaNet: RetinaNetDetector,
        FCOS: FCOSDetector,
        FasterRCNN: FasterRCNNDetector,
    }
    return kinds[type(model)]


def torchvision_detector(
    name: str,
    /,
    *,
    num_classes: int,
    in_channels: int = 3,
    image_shape: Sequence[int] = (320, 320),
    mean: Sequence[float] = (0.5, 0.5, 0.5),
    std: Sequence[float] = (0.5, 0.5, 0.5),
    **args: Any,
) -> nn.Module:
    """Build ``torchvision.models.detection.NAME`` with random weights.

    Args:
        name: one of `DETECTORS`.
        num_classes: of things, the background not counted.
        in_channels: channels of the images, 3.
        image_shape: (height, width) of the images.
        mean: of each channel, by which the list of images that torchvision takes is normalised.
        std: likewise.
        **args: passed to torchvision.

    Raises:
        ModelError: it is no detector of torchvision's that is known here, or does not accept the arguments.
    """
    from torchvision.models import get_model

    if name not in DETECTORS:
        raise ModelError(known("detector", name, [*DETECTORS]))
    if in_channels != 3:
        raise ModelError(f"torchvision's {name} takes images of 3 channels, not {in_channels}")
    height, width = (int(side) for side in image_shape)
    if min(height, width) < SMALLEST:
        raise ModelError(
            f"{name} needs images of {SMALLEST} pixels at least, not {width}x{height}: raise image_size"
        )
    try:
        model = get_model(name, weights=None, weights_backbone=None, num_classes=num_classes + 1, **args)
    except (TypeError, ValueError) as error:
        raise ModelError(f"torchvision's {name} cannot be built with {args}: {error}") from error
    return fitted(model, (height, width), mean, std)


def fitted(
    model: nn.Module, image_shape: tuple[int, int], mean: Sequence[float], std: Sequence[float]
) -> nn.Module:
    """Make a detector of torchvision's a `Detector` for images of one size; it stays the same object.

    Args:
        model: of torchvision.
        image_shape: (height, width) of the images.
        mean: of each channel, by which its transform normalises.
        std: likewise.
    """
    model.__class__ = _kind_of(model)
    model.image_shape = image_shape  # type: ignore[assignment]
    transform: Any = model.transform
    transform.fixed_size = image_shape[::-1]  # torchvision's order is (width, height)
    transform.min_size, transform.max_size = (min(image_shape),), max(image_shape)
    transform.image_mean, transform.image_std = list(mean), list(std)
    mode = model.training
    with torch.no_grad():
        blank = torch.zeros(1, 3, *image_shape)
        features = list(model.eval().backbone(blank).values())  # type: ignore[operator]
        anchors = model.anchors_of(ImageList(blank, [image_shape]), features)  # type: ignore[operator]
    model.grids = tuple(tuple(feature.shape[-2:]) for feature in features)  # type: ignore[assignment]
    model.register_buffer("anchors", anchors.float().clone(), persistent=False)
    return model.train(mode)


def losses_and_output(
    model: nn.Module, images: Tensor, targets: Sequence[Heads]
) -> tuple[Losses, Heads] | None:
    """Return the losses of a batch together with its boxes and scores, of one pass; None where there is no detector.

    Args:
        model: a detector in training mode, which may be wrapped.
        images: normalised, (N, C, H, W).
        targets: of each image: ``boxes`` (n, 4), ``labels`` (n,) from 0.

    Raises:
        ModelError: it is of two stages.
    """
    detector = next((module for module in model.modules() if isinstance(module, Detector)), None)
    if detector is None:
        return None
    if not hasattr(detector, "head"):
        raise ModelError(
            f"{type(detector).__name__} proposes places of its own, which are not its teacher's: leave `distill` out"
        )
    heads: list[Heads] = []
    hook = detector.head.register_forward_hook(lambda _head, _inputs, output: heads.append(output))
    try:
        losses = model(images, targets)
    finally:
        hook.remove()
    return losses, detector.decoded(heads[0])


def detector_of(model: nn.Module) -> Detector:
    """Return the detector in a model, which may be wrapped.

    Raises:
        ModelError: there is none.
    """
    for module in model.modules():
        if isinstance(module, Detector):
            return module
    raise ModelError(
        f"{type(model).__name__} is no detector: choose one of {', '.join(DETECTORS)}, or another task"
    )
