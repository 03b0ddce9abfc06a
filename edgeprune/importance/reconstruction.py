"""Criteria by how well the next layer's output can be reconstructed from fewer of its input channels.

Z_c is the contribution of channel c to that output; see `contributions`.
"""

import warnings

import numpy as np

from edgeprune.graph.classes import Graph
from edgeprune.importance.batches import Batches
from edgeprune.importance.combine import LayerScores, Scores, check_combining, combine
from edgeprune.importance.contributions import products_of


def thinet(
    graph: Graph,
    *,
    batches: Batches | None = None,
    limit: int | None = None,
    positions: int = 10,
    seed: int = 0,
    reduction: str = "mean",
    normalise: str = "none",
) -> Scores:
    """Greedily remove the channel whose removal changes the next layer's output least. Needs images.

    T grows by argmin over c of sum (sum over T and c of Z)^2. A channel's score is the output's relative
    error (0 to about 1) at its removal: the order within a layer is the source's, the values that make layers
    comparable are ours.

    Source: Luo et al., ThiNet, 2017 (10 images of each class, 10 positions in each; it draws one output
    filter for each position, here all of them count). It then scales the kept channels by least squares, which a
    criterion does not do. Convolutions over 1 or 2 axes and linear layers are supported.

    Args:
        graph: the traced model.
        batches: images.
        limit: largest number of batches; None for all.
        positions: number of sampled positions of each image's output.
        seed: of that sampling.
        reduction: over the coupled channels of a class; see `combine`.
        normalise: of each layer's scores; see `combine`.

    Raises:
        PlanError: no batches.
    """
    check_combining(reduction, normalise)
    products = products_of(graph, batches, "thinet", limit, positions, seed)
    rows = [LayerScores(p.layer, greedy_errors(p.gram, p.energy), p.classes) for p in products]
    return combine(graph, rows, reduction=reduction, normalise=normalise)


def lasso(
    graph: Graph,
    *,
    batches: Batches | None = None,
    limit: int | None = None,
    positions: int = 10,
    seed: int = 0,
    reduction: str = "mean",
    normalise: str = "none",
) -> Scores:
    """Find the L1 penalty at which the next layer stops using a channel. Needs images.

    min over beta of ||Y - sum beta_c Z_c||^2 + lambda ||beta||_1: the score is the largest lambda at which
    beta_c is not 0, divided by the layer's largest. For any count to keep, the source's search (double
    lambda, then bisect, until that many are left) ends at these channels.

    Source: He et al., Channel Pruning for Accelerating Very Deep Neural Networks, 2017 (400 rows sampled
    for each fit). It then fits the remaining kernels by least squares, which a criterion does not do.
    Convolutions over 1 or 2 axes and linear layers are supported.

    Args:
        graph: the traced model.
        batches: images.
        limit: largest number of batches; None for all.
        positions: number of sampled positions of each image's output.
        seed: of that sampling.
        reduction: over the coupled channels of a class; see `combine`.
        normalise: of each layer's scores; see `combine`.

    Raises:
        PlanError: no batches.
    """
    check_combining(reduction, normalise)
    products = products_of(graph, batches, "lasso", limit, positions, seed)
    rows = [LayerScores(p.layer, path_entries(p.gram), p.classes) for p in products]
    return combine(graph, rows, reduction=reduction, normalise=normalise)


def greedy_errors(gram: Scores, energy: float) -> Scores:
    """Return for each channel the output's relative error when ThiNet's greedy order removes it.

    ``gram`` is (C, C), the products of the contributions; ``energy`` is the output's sum of squares.
    """
    if not np.isfinite(gram).all():
        return np.full(len(gram), np.nan)
    scores, left = np.zeros(len(gram)), np.ones(len(gram), dtype=bool)
    cross, error, worst = np.zeros(len(gram)), 0.0, 0.0
    for step in range(len(gram)):
        added = 2 * cross + np.diag(gram)
        chosen = int(np.argmin(np.where(left, added, np.inf)))
        error += added[chosen]
        worst = max(worst, error / max(energy, 1e-300))
        scores[chosen] = worst + 1e-9 * step / len(gram)  # later removals never score below earlier ones
        left[chosen] = False
        cross += gram[chosen]
    return scores


def path_entries(gram: Scores) -> Scores:
    """Return for each channel the largest penalty at which the lasso uses it, divided by the largest of all.

    ``gram`` is (C, C), the products of the contributions, whose sum is the target.
    """
    from sklearn.linear_model import lars_path_gram

    if not np.isfinite(gram).all():
        return np.full(len(gram), np.nan)
    target = gram.sum(1)
    scale = np.abs(target).max(initial=0.0)
    if scale == 0:
        return np.zeros(len(gram))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # exact duplicates never enter the path: they score 0
        alphas, _, path = lars_path_gram(target / scale, gram / scale, n_samples=1, method="lasso")
    used = path != 0
    first = np.where(used.any(1), used.argmax(1), len(alphas))
    before = np.append(alphas, 0.0)[np.maximum(first - 1, 0)]
    return np.where(used.any(1), before / alphas[0], 0.0)
