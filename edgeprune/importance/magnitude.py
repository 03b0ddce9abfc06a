"""Criteria by the magnitude of the weights, and random scores as the lower reference of all criteria."""

from collections.abc import Callable

import numpy as np
from torch import Tensor

from edgeprune.graph.classes import Graph
from edgeprune.importance.combine import LayerScores, Scores, combine
from edgeprune.importance.filters import Filters, read_filters, written_filters
from edgeprune.importance.options import checked_integer

FilterMeasure = Callable[[Filters], Tensor]


def l1(graph: Graph, *, reduction: str = "mean", normalise: str = "mean") -> Scores:
    """Sum |w| over each filter: s_i = sum |F_i|. Needs no data.

    Source: Li et al., Pruning Filters for Efficient ConvNets (PFEC), 2017. It prunes a fixed share of each
    layer and does not prune residual streams; here all classes are ranked together, each layer divided by
    its mean.

    Args:
        graph: the traced model.
        reduction: over the coupled channels of a class; see `combine`.
        normalise: of each layer's scores; see `combine`.
    """
    return by_filter(graph, lambda filters: filters.norms(1), reduction, normalise)


def l2(graph: Graph, *, reduction: str = "mean", normalise: str = "mean") -> Scores:
    """Take the Euclidean norm of each filter: s_i = ||F_i||_2; otherwise as `l1`. Needs no data.

    Source: the measure of He et al., Soft Filter Pruning, 2018.

    Args:
        graph: the traced model.
        reduction: over the coupled channels of a class; see `combine`.
        normalise: of each layer's scores; see `combine`.
    """
    return by_filter(graph, lambda filters: filters.norms(2), reduction, normalise)


def ssl(graph: Graph, *, reduction: str = "mean", normalise: str = "mean") -> Scores:
    """Combine the norms that Structured Sparsity Learning penalises, over the layers of a class.

    ||W[n]||_2 of the filter that writes a channel and ||W[:, c]||_2 of the weights that read it. Needs no
    data.

    Source: Wen et al., Learning Structured Sparsity in Deep Neural Networks, 2016. Its scores are meaningful
    after training with its group lasso, which a criterion alone does not do.

    Args:
        graph: the traced model.
        reduction: over the coupled channels of a class; see `combine`.
        normalise: of each layer's scores; see `combine`.
    """
    every = [*written_filters(graph), *read_filters(graph)]
    rows = _measured(every, lambda filters: filters.norms(2))
    return combine(graph, rows, reduction=reduction, normalise=normalise)


def random_scores(graph: Graph, *, seed: int = 0) -> Scores:
    """Draw uniform scores in [0, 1), the lower reference of all criteria. Needs no data."""
    return np.random.default_rng(checked_integer("seed", seed, least=0)).random(graph.classes)


def by_filter(graph: Graph, measure: FilterMeasure, reduction: str, normalise: str) -> Scores:
    """Score each class by a measure of the filters that write its channels.

    A class that no layer writes (the new channels of a pad) is scored by the weights that read it.

    Args:
        graph: the traced model.
        measure: (channels,) scores of a layer's filters.
        reduction: over the coupled channels of a class; see `combine`.
        normalise: of each layer's scores; see `combine`.
    """
    written = _measured(written_filters(graph), measure)
    scored = np.zeros(graph.classes + 1, dtype=bool)  # class -1 is the last
    for layer in written:
        scored[layer.classes] = True
    read = [] if scored[:-1].all() else _measured(read_filters(graph), measure)
    return combine(graph, written, reduction=reduction, normalise=normalise, instead=read)


def _measured(layers: list[Filters], measure: FilterMeasure) -> list[LayerScores]:
    return [LayerScores(f.layer, measure(f).numpy(), f.classes) for f in layers]
