"""Criteria that look at weights alone."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeprune.graph.classes import Graph

Scores = NDArray[np.float64]


def l1(graph: Graph) -> Scores:
    """Sum of |w| over each filter (PFEC: Li et al., Pruning Filters for Efficient ConvNets, 2017).

    Filters that are coupled are averaged; each layer is divided by its own mean, so that layers compare.
    Needs no data.
    """
    return by_filter(graph, lambda filters: filters.abs().sum(1))


def l2(graph: Graph) -> Scores:
    """Euclidean norm of each filter; otherwise as `l1`. Needs no data."""
    return by_filter(graph, lambda filters: filters.square().sum(1).sqrt())


def random_scores(graph: Graph, seed: int = 0) -> Scores:
    """Uniform in [0, 1): the floor under every other criterion. Needs no data."""
    return np.random.default_rng(seed).random(graph.classes)


def by_filter(graph: Graph, measure: Callable[[Tensor], Tensor]) -> Scores:
    """Average over the layers that write a class of the filters' ``measure``, each layer scaled to mean 1.

    ``measure`` maps (channels, weights of a channel) to (channels,). A class that no layer writes (a pad's
    new channels) is judged by the weights that read it; one that nothing reads scores 0.
    """
    tensors = dict(graph.module.named_parameters())
    made = [(name, axis) for name, axis in graph.flow.outputs.items() if name in tensors]
    scores, seen = _average(graph, tensors, made, measure)
    if not seen.all():
        read = [key for key in graph.slots if key[0] in graph.flow.outputs and key not in made]
        instead, _ = _average(graph, tensors, read, measure)
        scores = np.where(seen, scores, instead)
    return scores


def _average(
    graph: Graph, tensors: dict[str, Tensor], keys: list[tuple[str, int]], measure: Callable[[Tensor], Tensor]
) -> tuple[Scores, NDArray[np.bool_]]:
    total, count = np.zeros(graph.classes), np.zeros(graph.classes)
    for name, axis in keys:
        weight = tensors[name].detach().to(torch.float64).cpu().movedim(axis, 0)
        values = measure(weight.reshape(weight.shape[0], -1)).numpy()
        values = values / max(values.mean(), 1e-300)
        classes = graph.slots[name, axis]
        inside = classes >= 0
        np.add.at(total, classes[inside], values[inside])
        np.add.at(count, classes[inside], 1)
    return total / np.maximum(count, 1), count > 0
