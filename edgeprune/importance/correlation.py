"""COP: channels that correlate with others are redundant; expensive layers are pruned more."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from edgeprune.graph.classes import Graph, Ints
from edgeprune.importance.blocks import Nearest
from edgeprune.importance.combine import LayerScores, Scores, combine, divisor, reduced
from edgeprune.importance.filters import Filters, read_filters
from edgeprune.importance.options import checked_integer, number_between


def cop(
    graph: Graph,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    gamma: float = 1.0,
    top: int = 3,
    iterative: bool = True,
    reduction: str = "mean",
    normalise: str = "none",
) -> Scores:
    """Score channels whose weights correlate little with others', in cheap layers, highest. Needs no data.

    For channels p, q that a layer reads: |Pearson correlation| of their weights over the layer's outputs,
    mean over kernel positions, divided by the layer's largest. A channel's importance in the layer is::

        alpha (1 - mean of the ``top`` largest) + beta (1 - log2 FLOPs / max) + gamma (1 - log2 params / max)

    where FLOPs and parameters are the layer's and max is over layers. A channel of constant weights
    correlates with none.

    Source: Wang et al., COP: Customized Correlation-based Pruning, 2019.

    Args:
        graph: the traced model.
        alpha: weight of the correlations.
        beta: weight of the layer's FLOPs; (1, 3, 0) is the source's for ResNet-32.
        gamma: weight of the layer's parameters; (1, 0, 3) is the source's for VGG on CIFAR-10.
        top: number of correlations that count.
        iterative: as in the source, remove the least important class, drop its correlations, and repeat:
            the score is the place in that order, from 0 to 1. Otherwise the importance itself.
        reduction: see `combine`.
        normalise: see `combine`.
    """
    weights = (number_between("alpha", alpha), number_between("beta", beta), number_between("gamma", gamma))
    layers = _layers(graph, *weights, checked_integer("top", top))
    scores = combine(graph, [layer.scores() for layer in layers], reduction=reduction, normalise=normalise)
    if not iterative or not layers:
        return scores
    return _removal_order(scores, _Removal(graph.classes, layers, reduction, normalise))


def correlations(weights: Tensor) -> Tensor:
    """Return |Pearson correlation| between channels over outputs, mean over positions; largest 1, diagonal 0.

    ``weights`` is (channels, positions, outputs); the result is (channels, channels).
    """
    matrix = _correlations(weights, weights).fill_diagonal_(0)
    return matrix / matrix.max().clamp(min=1e-300) if matrix.numel() else matrix


def _correlations(block: Tensor, others: Tensor) -> Tensor:
    """Return |Pearson correlation| of each pair of channels, mean over positions, not divided by the largest."""
    rows, columns = _units(block), _units(others)
    matrix = block.new_zeros(len(block), len(others))
    for position in range(block.shape[1]):
        matrix += (rows[:, position] @ columns[:, position].T).abs()
    return matrix / max(1, block.shape[1])


def _units(weights: Tensor) -> Tensor:
    """Return the weights minus their mean over outputs, divided by their norm; 0 where they are constant."""
    centred = weights - weights.mean(2, keepdim=True)
    norm = centred.norm(dim=2, keepdim=True)
    flat = norm <= 1e-12 * weights.abs().amax(2, keepdim=True)
    return torch.where(
        flat, torch.zeros_like(centred), centred / torch.where(flat, torch.ones_like(norm), norm)
    )


class _Layer:
    """One reading layer's correlations, kept up to date while channels are removed."""

    def __init__(self, filters: Filters, weight: float, bonus: float, top: int) -> None:
        self.filters, self._weight, self._bonus = filters, weight, bonus
        count = len(filters.stored)
        self._top = max(0, min(top, count - 1))
        # Each channel's largest correlations, and their channels; 0 and -1 where there are fewer.
        self._best, self._partners = np.zeros((count, max(1, self._top))), np.full((count, self._top), -1)
        if not bool(torch.isfinite(filters.stored).all()):
            self._best[:] = np.nan
            return
        self._nearest = Nearest(filters.stored, _correlations, self._top)
        self._largest = max(self._nearest.largest, 1e-300)
        self._update(range(count))

    def _update(self, rows: Iterable[int]) -> None:
        for row in rows if self._top else ():
            values, others = self._nearest.closest(row, self._top)
            self._best[row], self._partners[row] = 0.0, -1
            self._best[row, : len(values)] = values / self._largest
            self._partners[row, : len(others)] = others

    def values(self, rows: Ints) -> Scores:
        """Return the importance of some of the channels."""
        return self._weight * (1 - self._best[rows].mean(1)) + self._bonus

    def scores(self) -> LayerScores:
        """Return the importance of all channels."""
        return LayerScores(
            self.filters.layer, self.values(np.arange(len(self.filters.classes))), self.filters.classes
        )

    def forget(self, removed: Ints) -> Ints:
        """Drop the correlations of removed channels; return the rows whose importance changes."""
        self._nearest.alive[removed] = False
        rows = np.flatnonzero(np.isin(self._partners, removed).any(1) & self._nearest.alive)
        self._update(rows.tolist())
        return rows


def _layers(graph: Graph, alpha: float, beta: float, gamma: float, top: int) -> list[_Layer]:
    filters = read_filters(graph)
    flops = _flops(graph)
    log_flops = np.log2([max(2.0, flops[f.name]) for f in filters])
    log_params = np.log2([max(2.0, f.stored.numel()) for f in filters])
    bonus = beta * (1 - log_flops / log_flops.max(initial=1)) + gamma * (
        1 - log_params / log_params.max(initial=1)
    )
    return [_Layer(f, alpha, float(b), top) for f, b in zip(filters, bonus, strict=True)]


def _flops(graph: Graph) -> dict[str | None, float]:
    """Return the FLOPs of the calls that read channels, by the name of their weight."""
    weights = {consumer.node: consumer.weight for consumer in graph.flow.consumers}
    flops: dict[str | None, float] = defaultdict(float)
    for cost in graph.flow.costs:
        if cost.node in weights:
            flops[weights[cost.node]] += cost.coefficient * math.prod(len(axis) for axis in cost.axes)
    return flops


def _removal_order(scores: Scores, removal: "_Removal") -> Scores:
    """Return the place of each class in the order of removal, from 0 to 1."""
    place, open_ = np.zeros(len(scores)), scores.copy()
    for step in range(len(scores)):
        victim = int(np.argmin(open_))
        place[victim], open_[victim] = step, np.inf
        for item, importance in removal.remove(victim):
            if open_[item] < np.inf:
                open_[item] = importance
    return place / max(1, len(scores) - 1)


class _Removal:
    """All layers' channels side by side, so that a removal updates only what changes, not the entire network.

    Each layer's divisor keeps its initial value.
    """

    def __init__(self, classes: int, layers: list[_Layer], reduction: str, normalise: str) -> None:
        rows = [layer.scores() for layer in layers]
        self._layers, self._reduction = layers, reduction
        self._divisors = [divisor(row.values, normalise) for row in rows]
        self._starts = np.cumsum([0, *(len(row.values) for row in rows)])
        self._values = np.concatenate([row.values / d for row, d in zip(rows, self._divisors, strict=True)])
        self._classes = np.concatenate([row.classes for row in rows])
        order = np.argsort(self._classes, kind="stable")
        self._members = np.split(order, np.searchsorted(self._classes[order], np.arange(classes + 1)))[1:-1]

    def remove(self, victim: int) -> Iterator[tuple[int, float]]:
        """Remove a class; yield each class whose importance may have changed, with its new importance."""
        places = self._members[victim]
        changed = set()
        for number, rows_of_layer in groupby(
            places, lambda p: int(np.searchsorted(self._starts, p, side="right")) - 1
        ):
            start, layer = self._starts[number], self._layers[number]
            rows = layer.forget(np.array(list(rows_of_layer)) - start)
            self._values[start + rows] = layer.values(rows) / self._divisors[number]
            changed.update(self._classes[start + rows].tolist())
        for item in changed - {-1}:
            yield item, reduced(self._values[self._members[item]], self._reduction)
