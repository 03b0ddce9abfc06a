"""Criteria that take the size of the weights, and the floor under all criteria: chance."""

from collections.abc import Callable

import numpy as np
from torch import Tensor

from edgeprune.graph.classes import Graph
from edgeprune.importance.combine import LayerScores, Scores, combine
from edgeprune.importance.filters import Filters, read_filters, written_filters
from edgeprune.importance.options import whole

Measure = Callable[[Filters], Tensor]


def l1(graph: Graph, *, reduction: str = "mean", normalise: str = "mean") -> Scores:
    """Sum of |w| over each filter: s_i = sum |F_i|. Needs no data.

    Source: Li et al., Pruning Filters for Efficient ConvNets (PFEC), 2017. It prunes by a share of each layer
    and leaves residual streams alone; here all classes are ranked together, each layer divided by its mean.
    """
    return by_filter(graph, lambda filters: filters.norms(1), reduction, normalise)


def l2(graph: Graph, *, reduction: str = "mean", normalise: str = "mean") -> Scores:
    """Euclidean norm of each filter: s_i = ||F_i||_2; otherwise as `l1`. Needs no data.

    Source: the measure of He et al., Soft Filter Pruning, 2018.
    """
    return by_filter(graph, lambda filters: filters.norms(2), reduction, normalise)


def ssl(graph: Graph, *, reduction: str = "mean", normalise: str = "mean") -> Scores:
    """Norms of the groups that Structured Sparsity Learning shrinks, for each layer a class lives in.

    ||W[n]||_2 of the filter that writes a channel and ||W[:, c]||_2 of what each layer reads it by. Needs no
    data.

    Source: Wen et al., Learning Structured Sparsity in Deep Neural Networks, 2016. Its scores mean what they
    say after training with its group lasso, which a criterion alone does not do.
    """
    every = [*written_filters(graph), *read_filters(graph)]
    rows = _measured(every, lambda filters: filters.norms(2))
    return combine(graph, rows, reduction=reduction, normalise=normalise)


def random_scores(graph: Graph, *, seed: int = 0) -> Scores:
    """Uniform in [0, 1): the floor under every other criterion. Needs no data."""
    return np.random.default_rng(whole("seed", seed, least=0)).random(graph.classes)


def by_filter(graph: Graph, measure: Measure, reduction: str, normalise: str) -> Scores:
    """Combine ``measure`` of the filters of the layers that write each class.

    ``measure`` gives (channels,) of a layer's filters. A class that no layer writes (a pad's new channels) is
    judged by the weights that read it.
    """
    written = _measured(written_filters(graph), measure)
    judged = np.zeros(graph.classes + 1, dtype=bool)  # class -1 is the last
    for layer in written:
        judged[layer.classes] = True
    read = [] if judged[:-1].all() else _measured(read_filters(graph), measure)
    return combine(graph, written, reduction=reduction, normalise=normalise, instead=read)


def _measured(layers: list[Filters], measure: Measure) -> list[LayerScores]:
    return [LayerScores(f.layer, measure(f).numpy(), f.classes) for f in layers]
