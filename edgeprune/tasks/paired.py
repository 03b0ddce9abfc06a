"""What a metric loses between two models that were evaluated on the same images, with its interval."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from edgeprune.records.metrics import PairedDrop

CONFIDENCE = 0.95  # of every interval
BY_COUNTS = "Agresti and Min (2005), of images that only one of the models gets right"
BY_IMAGES = "Student's t over the differences by image"
BY_BLOCKS = "Student's t over the differences by block of images"


def drop_by_counts(lost: int, gained: int, images: int) -> PairedDrop:
    """Return the drop of a share of images, such as accuracy.

    The interval adds half an image to each of the four cells of the table, as Agresti and Min, "Simple improved
    confidence intervals for comparing matched proportions", Statistics in Medicine 24 (2005), so that a few images that
    all agree do not prove that nothing was lost.

    Args:
        lost: images that only the first model gets right.
        gained: images that only the second one gets right.
        images: number of all of them, at least 1.
    """
    b, c, n = lost + 0.5, gained + 0.5, images + 2
    middle, deviation = (b - c) / n, math.sqrt(b + c - (b - c) ** 2 / n) / n
    margin = _normal_quantile() * deviation
    return PairedDrop(
        value=(lost - gained) / images,
        low=max(-1.0, middle - margin),
        high=min(1.0, middle + margin),
        confidence=CONFIDENCE,
        images=images,
        method=BY_COUNTS,
    )


def drop_by_images(differences: ArrayLike) -> PairedDrop | None:
    """Return the drop of a mean over images; None for fewer than two images.

    Args:
        differences: first model less second one, higher being better, shape (images,).
    """
    values = np.asarray(differences, dtype=float)
    if np.isin(values, (-1.0, 0.0, 1.0)).all() and len(values):
        return drop_by_counts(int((values == 1).sum()), int((values == -1).sum()), len(values))
    return _by_t(float(values.mean()), values, len(values), BY_IMAGES) if len(values) > 1 else None


def drop_by_blocks(drop: float, drops: Sequence[float], images: int) -> PairedDrop | None:
    """Return the drop of a metric that is no mean over images, such as mAP; None for fewer than two blocks.

    The variance of a random block's drop, divided by the number of blocks, estimates that of all images together
    (Wolter, Introduction to Variance Estimation, 2007, ch. 2: random groups).

    Args:
        drop: of all images together, higher being worse.
        drops: of each block of images.
        images: number of all images.
    """
    values = np.asarray([value for value in drops if math.isfinite(value)])
    return _by_t(drop, values, images, BY_BLOCKS) if len(values) > 1 else None


def half_width_expected(images: int, share: float = 0.01) -> float:
    """Return half of the interval's width where a share of the images is decided differently, as often for the better.

    Args:
        images: number of images.
        share: of them that only one of the models gets right; 1 % is that of a mild pruning.
    """
    return _normal_quantile() * math.sqrt(share * images + 1) / (images + 2)


def _normal_quantile() -> float:
    return NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


def _by_t(value: float, parts: np.ndarray, images: int, method: str) -> PairedDrop:
    """Return a drop whose interval follows from the spread of its parts."""
    from scipy.special import stdtrit  # Student's quantile

    quantile = float(stdtrit(len(parts) - 1, (1 + CONFIDENCE) / 2))
    margin = quantile * float(parts.std(ddof=1)) / math.sqrt(len(parts))
    return PairedDrop(
        value=value,
        low=value - margin,
        high=value + margin,
        confidence=CONFIDENCE,
        images=images,
        method=method,
    )
