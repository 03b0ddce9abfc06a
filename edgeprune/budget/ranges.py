"""Find which shares of a resource targets can reach, before one asks for the impossible."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprune.budget.budgets import Budget
from edgeprune.budget.greedy import floors_of
from edgeprune.graph.classes import Bools, Graph
from edgeprune.graph.pieces import TiedGroups
from edgeprune.resources import Resource

Blocks = Sequence[tuple[int, ...]]


@dataclass(frozen=True)
class Range:
    """The shares of a resource that targets can reach.

    Attributes:
        kind: name of the resource.
        unpruned: what the unpruned network takes, in the resource's unit.
        smallest: the least share that can remain.
        largest: the largest share below 1; None where nothing can be saved.
    """

    kind: str
    unpruned: float
    smallest: float
    largest: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


def reachable(graph: Graph, resource: Resource, *, floor: int = Budget.floor, blocks: Blocks = ()) -> Range:
    """Return the range of a resource.

    Args:
        graph: of the unpruned network.
        resource: bound to a device's table where it needs one; its steps are kept to.
        floor: fewest channels of a layer.
        blocks: sets of groups that may lose all their channels together.
    """
    unpruned = resource.cost(graph)
    lowest, single_steps = np.ones(graph.classes, dtype=bool), []
    for tied, levels in zip(graph.tied_groups, _levels(graph, resource, floor), strict=True):
        ranked = tied.levels(np.arange(graph.classes, dtype=float))
        lowest[ranked[levels[-1] :]] = False
        if len(levels) > 1:
            keep = np.ones(graph.classes, dtype=bool)
            keep[ranked[levels[1] :]] = False
            single_steps.append(resource.cost(graph, keep) / unpruned)
    smallest = min(1.0, resource.cost(graph, _emptied(graph, resource, lowest, blocks)) / unpruned)
    below = [share for share in (*single_steps, smallest) if share < 1]
    return Range(resource.name, unpruned, smallest, max(below, default=None))


def _levels(graph: Graph, resource: Resource, floor: int) -> list[list[int]]:
    """Return the levels that each of the tied groups may have, the highest first."""
    steps = resource.steps(graph)
    return [
        [
            level
            for level in range(tied.size, 0, -1)
            if level == tied.size or _fits(level, tied, steps, int(least))
        ]
        for tied, least in zip(graph.tied_groups, floors_of(graph, floor), strict=True)
    ]


def _fits(level: int, tied: TiedGroups, steps: NDArray[np.int64] | None, least: int) -> bool:
    step = 1 if steps is None else tied.step([int(steps[index]) for index in tied.indices])
    return level >= least and level % step == 0


def _emptied(graph: Graph, resource: Resource, keep: Bools, blocks: Blocks) -> Bools:
    """Return ``keep`` without the blocks whose removal saves something."""
    cost = resource.cost(graph, keep)
    for block in blocks:
        without = keep.copy()
        for group in block:
            without[graph.groups[group].classes] = False
        if (cost_without := resource.cost(graph, without)) < cost:
            keep, cost = without, cost_without
    return keep
