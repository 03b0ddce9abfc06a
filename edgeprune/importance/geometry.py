"""Criteria that compare a layer's filters with each other: a filter that others can replace is redundant."""

import torch
from torch import Tensor

from edgeprune.graph.classes import Graph
from edgeprune.importance.blocks import weighted_sums
from edgeprune.importance.combine import Scores
from edgeprune.importance.magnitude import by_filter


def fpgm(graph: Graph, *, reduction: str = "mean", normalise: str = "mean") -> Scores:
    """Sum the distances to the layer's other filters: g_i = sum_j ||F_i - F_j||_2. Needs no data.

    Source: He et al., Filter Pruning via Geometric Median, 2019: the filters closest to the geometric median
    of their layer are pruned first. The source prunes a fixed share of each layer; here all classes are ranked
    together.

    Args:
        graph: the traced model.
        reduction: over the coupled channels of a class; see `combine`.
        normalise: of each layer's scores; see `combine`.
    """
    return by_filter(graph, lambda filters: _distances(filters.stored.flatten(1)), reduction, normalise)


def whc(graph: Graph, *, reduction: str = "mean", normalise: str = "mean") -> Scores:
    """Multiply norm and norm-weighted dissimilarity: s_i = ||F_i|| sum_j ||F_j|| (1 - |cos(F_i, F_j)|). Needs no data.

    Source: Chen et al., WHC: Weighted Hybrid Criterion for Filter Pruning, ICASSP 2023; formula from memory.

    Args:
        graph: the traced model.
        reduction: over the coupled channels of a class; see `combine`.
        normalise: of each layer's scores; see `combine`.
    """
    return by_filter(
        graph, lambda filters: _weighted_dissimilarity(filters.stored.flatten(1)), reduction, normalise
    )


def _distances(filters: Tensor) -> Tensor:
    return weighted_sums(filters, torch.cdist, torch.ones(len(filters), dtype=torch.float64))


def _weighted_dissimilarity(filters: Tensor) -> Tensor:
    norms = torch.linalg.vector_norm(filters, dim=1, dtype=torch.float64)
    return norms * weighted_sums(filters, _dissimilarity, norms)


def _dissimilarity(block: Tensor, others: Tensor) -> Tensor:
    return (1 - (_units(block) @ _units(others).T).abs()).clamp(min=0)


def _units(filters: Tensor) -> Tensor:
    return filters / filters.norm(dim=1, keepdim=True).clamp(min=1e-300)
