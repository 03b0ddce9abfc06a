"""Select channels by scores alone, in one call."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgeprune.budget.budgets import Budget
from edgeprune.budget.targets import Target
from edgeprune.graph.arguments import check_graph
from edgeprune.graph.classes import Graph
from edgeprune.graph.plan import Plan


def select(
    graph: Graph,
    scores: NDArray[np.float64],
    target: str | Target,
    *,
    align: int | None = None,
    floor: int = 2,
    ratios: Mapping[str, float] | None = None,
) -> Plan:
    """Prune the lowest-scoring classes until the target is met.

    Args:
        graph: the traced model.
        scores: shape (graph.classes,), higher is more important.
        target: 'flops=0.5', 'params=0.3', 'memory=20MB', several with commas between, or a Target.
        align: widths become multiples of this (groups smaller than it are kept entirely); the most important
            channels get what rounding leaves of the budget. None for 8, or for 4 or 2 in layers under 32 or 16
            channels: processors take so many at once, and odd widths are slower than the unpruned network.
        floor: no layer keeps fewer channels than this.
        ratios: share to keep of single groups, by name; the others share the rest of the budget.

    Raises:
        TargetError: minimum widths, alignment and protected channels make the target unreachable; the message
            has the smallest share that is reachable.
        PlanError: a score is missing or not a number.
    """
    check_graph(graph)
    return Budget.of(target, graph, align, floor).select(graph, scores, ratios)
