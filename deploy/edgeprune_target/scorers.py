"""Scorers by name: each counts how well a model's outputs fit the targets, so that only counts travel to the host."""

from __future__ import annotations

from typing import Any

from edgeprune_target.errors import TargetError

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


SCORERS = {scorer.name: scorer for scorer in (Classification, Segmentation)}


def make_scorer(name: str) -> Scorer:
    """Return a new scorer.

    Raises:
        TargetError: there is none of that name.
    """
    if name not in SCORERS:
        raise TargetError(f"unknown scorer {name!r}; known: {', '.join(SCORERS)}")
    return SCORERS[name]()
