"""Faster R-CNN for batches of images of one size: as many proposals in each image, so that it is tensors throughout."""

from collections.abc import Sequence
from math import log2
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.faster_rcnn import FasterRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import roi_align

from edgeprune.models.detectors import Detector, Heads, Losses, decoded_boxes

ROUNDS = 4  # of suppression: exact where no more boxes than this suppress each other in a chain


class FasterRCNNDetector(Detector, FasterRCNN):
    """Faster R-CNN; each of its proposals makes a place for each class, which has a box of its own."""

    rpn: Any
    roi_heads: Any

    def forward(self, images: Any, targets: Any = None) -> Any:
        """Return boxes and scores of a batch, or its losses; for a list of images what torchvision returns.

        Args:
            images: normalised, (N, C, H, W); or a list of images from 0 to 1, each (C, H, W).
            targets: for a batch, dicts of ``boxes`` (n, 4) and ``labels`` (n,) from 0; for a list, torchvision's.

        Returns:
            For a batch without targets ``{"boxes": (N, proposals * classes, 4), "scores": (N, proposals * classes,
            classes)}``; with targets the losses by name.
        """
        if not isinstance(images, Tensor):
            return FasterRCNN.forward(self, images, targets)
        features = self.backbone(images)
        if targets is not None:
            return self._losses_of(images, features, targets)
        return self._detected(features)

    def anchors_of(self, images: ImageList, features: list[Tensor]) -> Tensor:
        """Return the anchors (anchors, 4) of an image.

        Args:
            images: a batch of one.
            features: maps of it.
        """
        anchors: Tensor = self.rpn.anchor_generator(images, features)[0]
        return anchors

    def _losses_of(self, images: Tensor, features: dict[str, Tensor], targets: Sequence[Heads]) -> Losses:
        shapes = [self.image_shape] * len(images)
        one_based = [{"boxes": target["boxes"], "labels": target["labels"] + 1} for target in targets]
        proposals, proposing = self.rpn(ImageList(images, shapes), features, one_based)
        _, detecting = self.roi_heads(features, proposals, shapes, one_based)
        return {**proposing, **detecting}

    def _detected(self, features: dict[str, Tensor]) -> Heads:
        proposals, valid = self._proposals(list(features.values()))
        pooled = self._pooled(features, proposals)
        logits, codes = self.roi_heads.box_predictor(self.roi_heads.box_head(pooled))
        images, count = proposals.shape[:2]
        classes = logits.shape[1] - 1
        scores = logits.float().softmax(-1)[:, 1:].reshape(images, count, classes) * valid.unsqueeze(-1)
        codes = codes.float().reshape(images, count, classes + 1, 4)[:, :, 1:]
        boxes = decoded_boxes(codes, proposals.unsqueeze(2), self.roi_heads.box_coder.weights)
        own_class = torch.eye(classes, dtype=scores.dtype, device=scores.device)
        return {
            "boxes": self.inside(boxes).flatten(1, 2),
            "scores": (scores.unsqueeze(-1) * own_class).flatten(1, 2),
        }

    def _proposals(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the best boxes (N, P, 4) of the first stage, and which of them torchvision would keep (N, P)."""
        objectness, codes = self.rpn.head(features)
        logits = [_by_place(level, 1).squeeze(-1).float() for level in objectness]
        offsets = [_by_place(level, 4).float() for level in codes]
        sizes = [level.shape[1] for level in logits]
        self.check_places(sum(sizes))
        best = []
        for level, offset, anchors in zip(logits, offsets, self.anchors.split(sizes), strict=True):
            boxes = self.inside(decoded_boxes(offset, anchors, self.rpn.box_coder.weights))
            top, places = level.topk(min(self.rpn._pre_nms_top_n["testing"], level.shape[1]), dim=1)
            boxes = boxes.gather(1, places.unsqueeze(-1).expand(-1, -1, 4))
            size = boxes[..., 2:] - boxes[..., :2]
            valid = (top.sigmoid() >= self.rpn.score_thresh) & (size >= self.rpn.min_size).all(-1)
            best.append((boxes, top, unsuppressed(boxes, valid, self.rpn.nms_thresh)))
        boxes, top, valid = (torch.cat(parts, 1) for parts in zip(*best, strict=True))
        ranks = torch.where(valid, top.sigmoid(), top.sigmoid() - 1)  # what is not valid fills up
        places = ranks.topk(min(self.rpn._post_nms_top_n["testing"], ranks.shape[1]), dim=1).indices
        return boxes.gather(1, places.unsqueeze(-1).expand(-1, -1, 4)), valid.gather(1, places)

    def _pooled(self, features: dict[str, Tensor], proposals: Tensor) -> Tensor:
        """Return the maps (N * P, C, h, w) that the second stage sees, each from the level of its size."""
        pool = self.roi_heads.box_roi_pool
        maps = [features[name] for name in pool.featmap_names if name in features]
        # A side of each map in the image's pixels is a power of two.
        steps = [round(log2(self.image_shape[0] / feature.shape[-2])) for feature in maps]
        images, count = proposals.shape[:2]
        image = torch.arange(images, device=proposals.device).view(-1, 1, 1).expand(-1, count, 1)
        regions = torch.cat([image.to(proposals.dtype), proposals], -1).flatten(0, 1)
        size = regions[:, 3:] - regions[:, 1:3]
        side = (size[:, 0] * size[:, 1]).sqrt().clamp(min=1e-6)
        exact = pool.canonical_level + torch.log2(side / pool.canonical_scale) + 1e-6
        levels = (
            exact.floor().clamp(steps[0], steps[-1]) - steps[0]
        )  # torchvision's rule, of Lin et al., 2017
        total: Any = 0
        for level, (feature, step) in enumerate(zip(maps, steps, strict=True)):
            if level > steps[-1] - steps[0]:
                break  # no box is of this level, as in torchvision
            part = roi_align(
                feature, regions.to(feature.dtype), pool.output_size, 0.5**step, pool.sampling_ratio
            )
            total = total + part * (levels == level).to(part.dtype).view(-1, 1, 1, 1)
        return total


def _by_place(level: Tensor, values: int) -> Tensor:
    """Return (N, H * W * anchors, values) of a head's map (N, anchors * values, H, W), in the anchors' order."""
    return level.unflatten(1, (-1, values)).permute(0, 3, 4, 1, 2).flatten(1, 3)


def unsuppressed(boxes: Tensor, valid: Tensor, overlap: float) -> Tensor:
    """Return which boxes no better one overlaps: non-maximum suppression without a loop over boxes.

    Source: Zheng et al., Enhancing Geometric Factors in Model Learning and Inference for Object Detection and Instance
    Segmentation, 2020 (Cluster-NMS).

    Args:
        boxes: (N, K, 4), the best first.
        valid: (N, K), those that count.
        overlap: IoU above which the better one of two suppresses the other.

    Returns:
        (N, K).
    """
    area = (boxes[..., 2:] - boxes[..., :2]).prod(-1)
    low = torch.maximum(boxes[:, :, None, :2], boxes[:, None, :, :2])
    high = torch.minimum(boxes[:, :, None, 2:], boxes[:, None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    close = shared > overlap * (area[:, :, None] + area[:, None] - shared)
    order = torch.arange(boxes.shape[1], device=boxes.device)
    close = close & (order[:, None] < order) & valid[:, :, None]  # [better, worse]
    kept = valid
    for _ in range(ROUNDS):
        kept = valid & ~(close & kept[:, :, None]).any(1)
    return kept
