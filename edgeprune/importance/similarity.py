"""Channels that duplicate each other: of each closest pair, one is redundant."""

import numpy as np
import torch
from torch import Tensor

from edgeprune.graph.classes import Graph
from edgeprune.importance.blocks import Nearest
from edgeprune.importance.combine import Scores
from edgeprune.importance.filters import Filters
from edgeprune.importance.magnitude import by_filter


def similarity(graph: Graph, *, reduction: str = "mean", normalise: str = "none") -> Scores:
    """Score a filter by its distance to the most similar one left at its removal. Needs no data.

    F^ = F / ||F||_1. Repeatedly, of the closest pair min ||F^_i - F^_j||_1 among the filters left, the one with
    the smaller ||F||_1 is removed and scores that distance (0 to 2; at least the score of earlier removals).

    Source: Thaker & Mohan, Compression of Convolution Neural Network Using Structured Pruning, IEEE I2CT
    2022, in the form of the authors' later code. It is the second half of their method: see the
    method 'saliency-similarity'.

    Args:
        graph: the traced model.
        reduction: over the coupled channels of a class; see `combine`.
        normalise: of each layer's scores; see `combine`.
    """

    def measure(filters: Filters) -> Tensor:
        return torch.from_numpy(removal_distances(filters.stored.flatten(1)))

    return by_filter(graph, measure, reduction, normalise)


def removal_distances(filters: Tensor) -> Scores:
    """Return the (n,) distances at which rows of ``filters``, (n, weights), are removed; the last scores most."""
    count = len(filters)
    if not bool(torch.isfinite(filters).all()):
        return np.full(count, np.nan)
    if count < 2:
        return np.full(count, 2.0)
    nearest = Nearest(filters, _closeness)
    size = torch.linalg.vector_norm(filters, 1, dim=1, dtype=torch.float64).numpy()
    scores, worst = np.zeros(count), 0.0
    partner, least = np.zeros(count, dtype=np.int64), np.full(count, np.inf)

    def update(row: int) -> None:
        values, others = nearest.closest(row, 1)
        if len(others):
            partner[row], least[row] = int(others[0]), -float(values[0])
        else:
            least[row] = np.inf

    for row in range(count):
        update(row)
    for _ in range(count - 1):
        first = int(least.argmin())
        second = int(partner[first])
        removed = second if (size[second], second) < (size[first], first) else first
        worst = max(worst, float(least[first]))
        scores[removed], nearest.alive[removed], least[removed] = worst, False, np.inf
        for orphan in np.flatnonzero((partner == removed) & nearest.alive):
            update(int(orphan))
    scores[nearest.alive] = max(worst, 2.0)
    return scores


def _closeness(block: Tensor, others: Tensor) -> Tensor:
    return -torch.cdist(_units(block), _units(others), p=1.0)


def _units(filters: Tensor) -> Tensor:
    return filters / filters.abs().sum(1, keepdim=True).clamp(min=1e-300)
