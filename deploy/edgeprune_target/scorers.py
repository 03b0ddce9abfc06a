"""Scorers by name: each counts how well a model's outputs fit the targets, so that only counts travel to the host."""

from __future__ import annotations

from typing import Any

from edgeprune_target.errors import TargetError

LEAST_SCORE, MOST_CANDIDATES, OVERLAP, MOST_DETECTIONS = 0.01, 1000, 0.5, 100  # as the host's
IGNORED = 255  # value of a mask's pixels that do not count


class Scorer:
    """Counts over all batches.

    Attributes:
        name: by which the host asks for it.
    """

    name = ""

    def add(self, outputs: list, targets: Any) -> None:
        """Count a batch.

        Args:
            outputs: of the model, arrays in its own order.
            targets: of the same images.
        """
        raise NotImplementedError

    def totals(self) -> dict:
        """Return the counts as JSON; the host adds those of several parts."""
        raise NotImplementedError


class Classification(Scorer):
    """Counts the images whose largest logit is their label's."""

    name = "classification"

    def __init__(self) -> None:
        self.correct = 0

    def add(self, outputs: list, targets: Any) -> None:
        """Count a batch of labels, N."""
        logits = outputs[0]
        if logits.ndim != 2 or len(logits) != len(targets):
            raise TargetError(
                f"the model's first output has the shape {logits.shape} for {len(targets)} images: "
                "top-1 needs one row of class scores per image"
            )
        self.correct += int((logits.argmax(axis=1) == targets).sum())

    def totals(self) -> dict:
        """Return ``correct``."""
        return {"correct": self.correct}


class Segmentation(Scorer):
    """Counts pixels by true and predicted class."""

    name = "segmentation"

    def __init__(self) -> None:
        self.confusion: Any = None

    def add(self, outputs: list, targets: Any) -> None:
        """Count a batch of masks, N x H x W; pixels of class 255 do not count."""
        import numpy

        logits = outputs[0]
        if logits.ndim != 4 or logits.shape[:1] + logits.shape[2:] != targets.shape:
            raise TargetError(
                f"the model's first output has the shape {logits.shape} for masks of {targets.shape}: "
                "it must have a score for each class at each pixel"
            )
        classes, counted = logits.shape[1], targets != IGNORED
        truth = targets[counted].astype(numpy.int64)
        if truth.size and (truth.min() < 0 or truth.max() >= classes):
            raise TargetError(f"the masks hold class {truth.max()}, and the model has {classes} classes")
        places = truth * classes + logits.argmax(axis=1)[counted]
        part = numpy.bincount(places, minlength=classes * classes).reshape(classes, classes)
        self.confusion = part if self.confusion is None else self.confusion + part

    def totals(self) -> dict:
        """Return ``confusion``: a row for each true class."""
        return {"confusion": self.confusion.tolist()}


class Detection(Scorer):
    """Collects the detections of each image: the best boxes, of which no two of one class overlap by half."""

    name = "detection"

    def __init__(self) -> None:
        self.detections: list = []

    def add(self, outputs: list, targets: Any) -> None:  # noqa: ARG002
        """Add a batch; its targets are known to the host."""
        shapes = [output.shape for output in outputs[:2]]
        if len(shapes) < 2 or [len(shape) for shape in shapes] != [3, 3] or shapes[0][:2] != shapes[1][:2]:
            raise TargetError(
                f"the model's outputs have the shapes {shapes}: a detector gives boxes, N x places x 4, and "
                "scores, N x places x classes"
            )
        for at in range(len(outputs[0])):
            self.detections.append(detections_of(outputs[0][at], outputs[1][at]))

    def totals(self) -> dict:
        """Return ``detections``: of each image rows of x1, y1, x2, y2, score, class."""
        return {"detections": self.detections}


def detections_of(boxes: Any, scores: Any) -> list:
    """Return the detections of an image, the best first: rows of x1, y1, x2, y2, score, class.

    Args:
        boxes: places x 4.
        scores: places x classes, from 0 to 1.
    """
    import numpy

    boxes, flat = boxes.astype(numpy.float32), scores.astype(numpy.float32).ravel()
    numbers = numpy.isfinite(boxes).all(axis=1).repeat(scores.shape[1]) & numpy.isfinite(flat)
    candidates = numpy.flatnonzero(numbers & (flat >= LEAST_SCORE))
    candidates = candidates[numpy.argsort(-flat[candidates], kind="stable")][:MOST_CANDIDATES]
    places, labels = numpy.divmod(candidates, scores.shape[1])
    chosen, areas = boxes[places], _areas(boxes[places])
    alive = numpy.ones(len(candidates), bool)
    rows: list = []
    for at in range(len(candidates)):
        if not alive[at] or len(rows) == MOST_DETECTIONS:
            continue
        rows.append([*chosen[at].tolist(), min(1.0, float(flat[candidates[at]])), int(labels[at])])
        corners = numpy.maximum(chosen[at, :2], chosen[:, :2]), numpy.minimum(chosen[at, 2:], chosen[:, 2:])
        shared = numpy.clip(corners[1] - corners[0], 0, None).prod(axis=1)
        alive &= ~((shared > OVERLAP * (areas + areas[at] - shared)) & (labels == labels[at]))
    return rows


def _areas(boxes: Any) -> Any:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


SCORERS = {scorer.name: scorer for scorer in (Classification, Segmentation, Detection)}


def make_scorer(name: str) -> Scorer:
    """Return a new scorer.

    Raises:
        TargetError: there is none of that name.
    """
    if name not in SCORERS:
        raise TargetError(f"unknown scorer {name!r}; known: {', '.join(SCORERS)}")
    return SCORERS[name]()
