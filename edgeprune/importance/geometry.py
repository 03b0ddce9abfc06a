"""Criteria that compare a layer's filters with each other: what another filter can replace may go."""

import torch
from torch import Tensor

from edgeprune.graph.classes import Graph
from edgeprune.importance.combine import Scores
from edgeprune.importance.magnitude import by_filter


def fpgm(graph: Graph, *, reduction: str = "mean", normalise: str = "mean") -> Scores:
    """Sum of the distances to the layer's other filters: g_i = sum_j ||F_i - F_j||_2. Needs no data.

    Source: He et al., Filter Pruning via Geometric Median, 2019: what lies closest to the geometric median of
    its layer goes first. There with a fixed share of each layer, here all classes are ranked together.
    """
    return by_filter(graph, lambda filters: _distances(filters.flat), reduction, normalise)


def whc(graph: Graph, *, reduction: str = "mean", normalise: str = "mean") -> Scores:
    """Norm times norm-weighted unlikeness: s_i = ||F_i|| sum_j ||F_j|| (1 - |cos(F_i, F_j)|). Needs no data.

    Source: Chen et al., WHC: Weighted Hybrid Criterion for Filter Pruning, ICASSP 2023; formula from memory.
    """
    return by_filter(graph, lambda filters: _weighted_unlikeness(filters.flat), reduction, normalise)


def _distances(filters: Tensor) -> Tensor:
    return torch.cdist(filters, filters).sum(1)


def _weighted_unlikeness(filters: Tensor) -> Tensor:
    norms = filters.norm(dim=1)
    units = filters / norms.clamp(min=1e-300)[:, None]
    unlike = (1 - (units @ units.T).abs()).clamp(min=0)
    unlike.fill_diagonal_(0)
    return norms * (unlike @ norms)
