"""Channels that duplicate each other: of each closest pair, one can go."""

import numpy as np
import torch
from torch import Tensor

from edgeprune.graph.classes import Graph
from edgeprune.importance.combine import Scores
from edgeprune.importance.magnitude import by_filter


def similarity(graph: Graph, *, reduction: str = "mean", normalise: str = "none") -> Scores:
    """How far a filter was from the one most like it when its turn came to go. Needs no data.

    F^ = F / ||F||_1. Again and again, of the closest pair min ||F^_i - F^_j||_1 among those left, the filter
    with the smaller ||F||_1 goes, and scores that distance (0 to 2; never less than one that went before it).

    Source: Thaker & Mohan, Compression of Convolution Neural Network Using Structured Pruning, IEEE I2CT
    2022, in the form of the authors' later code. It is the second half of their method: see the
    method 'saliency-similarity'.
    """
    return by_filter(
        graph, lambda filters: torch.from_numpy(removal_distances(filters.flat)), reduction, normalise
    )


def removal_distances(filters: Tensor) -> Scores:
    """(n,) distances at which the rows of ``filters``, (n, weights), go; the last one scores most."""
    count = len(filters)
    if not bool(torch.isfinite(filters).all()):
        return np.full(count, np.nan)
    norms = filters.abs().sum(1)
    unit = filters / norms.clamp(min=1e-300)[:, None]
    apart = torch.cdist(unit, unit, p=1.0).numpy()
    np.fill_diagonal(apart, np.inf)
    size, scores, worst = norms.numpy(), np.zeros(count), 0.0
    left = np.ones(count, dtype=bool)
    nearest, least = apart.argmin(1), apart.min(1)
    for _ in range(count - 1):
        one = int(least.argmin())
        other = int(nearest[one])
        gone = other if (size[other], other) < (size[one], one) else one
        worst = max(worst, float(least[one]))
        scores[gone], left[gone] = worst, False
        apart[gone, :] = apart[:, gone] = np.inf
        least[gone] = np.inf
        for row in np.flatnonzero((nearest == gone) & np.isfinite(least)):
            nearest[row], least[row] = apart[row].argmin(), apart[row].min()
    scores[left] = max(worst, 2.0)
    return scores
