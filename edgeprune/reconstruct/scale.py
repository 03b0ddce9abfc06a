"""Least-squares fits of one factor for each kept channel."""

import numpy as np
import torch

from edgeprune.graph.classes import Bools, Graph, Ints
from edgeprune.importance.batches import Batches
from edgeprune.importance.contributions import products_of
from edgeprune.importance.filters import has_own_weight, named_tensor
from edgeprune.reconstruct.ridge import LEAST


def by_scale(
    graph: Graph, keep: Bools, batches: Batches | None, positions: int, limit: int | None, seed: int
) -> int:
    """Fit every layer that loses inputs, and return their number.

    Args:
        graph: the traced model; weights are changed in place.
        keep: (classes,) mask of kept classes.
        batches: images, in the form that criteria use.
        positions: number of sampled positions of each image's output.
        limit: largest number of batches; None for all.
        seed: of the sampling.

    Raises:
        PlanError: no batches.
    """
    fitted = 0
    for product in products_of(graph, batches, "reconstruction", limit, positions, seed):
        name = str(product.consumer.weight)
        alive = keep[product.classes]
        if alive.all() or not alive.any() or not has_own_weight(graph, product.consumer):
            continue
        factors = _factors(product.gram, alive)
        _multiply(graph, name, product.classes, np.where(alive, factors, 0.0))
        fitted += 1
    return fitted


def _factors(gram: np.ndarray, alive: Bools) -> np.ndarray:
    """Return w of min ||sum of all Z_c - sum over kept w_c Z_c||^2; 0 for dropped channels."""
    left = gram[np.ix_(alive, alive)]
    left = left + np.eye(len(left)) * (LEAST * np.diag(left).mean() + 1e-300)
    factors = np.zeros(len(alive))
    factors[alive] = np.linalg.solve(left, gram[alive].sum(1))
    return factors if np.isfinite(factors).all() else alive.astype(float)


def _multiply(graph: Graph, name: str, classes: Ints, factors: np.ndarray) -> None:
    """Multiply the weights that read each class by its factor."""
    table = np.ones(graph.classes + 1)  # class -1, protected channels, is the last
    table[classes] = factors
    parameter = named_tensor(graph, name)
    view = [1, -1] + [1] * (parameter.dim() - 2)
    with torch.no_grad():
        parameter.mul_(torch.from_numpy(table[graph.param_axes[name, 1]]).to(parameter).view(view))
