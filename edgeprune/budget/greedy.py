"""The greedy solver: prune channels by their scores alone until every target is met."""

import heapq
import math
import numbers
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeprune.budget.solvers import Solver
from edgeprune.budget.targets import Target
from edgeprune.errors import PlanError, TargetError, known
from edgeprune.graph.arguments import kind_of
from edgeprune.graph.classes import Bools, Graph, Ints
from edgeprune.graph.groups import WIDEST_STEP
from edgeprune.graph.pieces import TiedGroups
from edgeprune.graph.plan import Plan
from edgeprune.options.checks import short

if TYPE_CHECKING:
    from edgeprune.budget.budgets import Budget

Floats = NDArray[np.float64]
TOLERANCE = 0.01  # a target counts as met within this share of itself
UNUSED = 0.1  # of a target: widths that nobody aligned leave no more of it than this
ANY_WIDTH = f"widths are of any number: multiples of {WIDEST_STEP} do not come near the target"


class Greedy(Solver):
    """Prunes the lowest-scoring classes until every target is met; see `select`."""

    takes_ratios = True

    def select(self, budget: "Budget", graph: Graph, scores: Floats, ratios: Mapping[str, float]) -> Plan:
        """Find the fewest drops that fit the budget, then restore the classes for which there is room.

        Where the user set no alignment, widths are aligned as far as the target can be met so.

        Args:
            budget: limits of what remains.
            graph: of the model as it is now.
            scores: (classes,) numbers, higher is more important.
            ratios: share to keep of single groups, by name.

        Raises:
            TargetError: the goals cannot be met.
        """
        if budget.align is not None:
            return self._select(budget, graph, scores, ratios)
        with suppress(TargetError):
            plan = self._select(budget, graph, scores, ratios)
            goals = budget.goals.items()
            if any(budget.cost(kind, graph, plan.keep) >= goal * (1 - UNUSED) for kind, goal in goals):
                return plan
        finer = self._select(replace(budget, align=1), graph, scores, ratios)
        return replace(finer, notes=(*finer.notes, ANY_WIDTH))

    def _select(self, budget: "Budget", graph: Graph, scores: Floats, ratios: Mapping[str, float]) -> Plan:
        """Return the plan of one alignment."""
        selection, goals = _Selection(graph, scores, budget, ratios), budget.goals
        lowest = selection.keep_at(len(selection.order))
        for target in budget.targets:
            reached = budget.cost(target.kind, graph, lowest)
            if reached > goals[target.kind] * (1 + TOLERANCE):
                raise TargetError(_out_of_reach(budget, target, reached, graph))

        def fits(keep: Bools) -> bool:
            return all(budget.cost(kind, graph, keep) <= goal for kind, goal in goals.items())

        keep = _search(selection.keep_at, fits, len(selection.order))
        return Plan.of(graph, selection.refine(keep, goals))


def _out_of_reach(budget: "Budget", target: Target, reached: float, graph: Graph) -> str:
    aligned = f", multiples of {budget.align}" if (budget.align or 1) > 1 else ""
    share = reached / budget.originals[target.kind]
    return (
        f"{target} cannot be reached: with at least {budget.floor} channels a layer{aligned} and the "
        f"protected ones, {share:.3f} of the {target.kind} is the least that can remain{graph.why_protected}"
    )


def floors_of(graph: Graph, floor: int, align: int | None = 1) -> NDArray[np.int64]:
    """Return the lowest level of each of the tied groups.

    Args:
        graph: the traced model.
        floor: least number of channels of a layer.
        align: levels are multiples of this, or the full size; None for `usual_step`.
    """
    return np.array([_floor(tied, floor, align) for tied in graph.tied_groups], dtype=int)


def _floor(tied: TiedGroups, floor: int, align: int | None) -> int:
    step = _step(tied, align)
    return min(tied.size, step * math.ceil(tied.least(floor) / step))


def _step(tied: TiedGroups, align: int | None) -> int:
    return max(1, min(tied.step([group.step(align) for group in tied.groups]), tied.size))


def _search(make: Callable[[int], Bools], fits: Callable[[Bools], bool], count: int) -> Bools:
    """Return the keep-set of the shortest prefix of drops that fits."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if fits(make(middle)):
            high = middle
        else:
            low = middle + 1
    return make(low)


class _Selection:
    """Keep-sets along one order of drops, with floors, alignment and fixed ratios.

    A level of tied groups is dropped at a time: one class, or one of each piece where pieces stay equal.
    """

    def __init__(
        self, graph: Graph, scores: NDArray[np.float64], budget: "Budget", ratios: Mapping[str, float]
    ) -> None:
        self.graph, self.budget = graph, budget
        shares = _shares(graph, ratios)
        self.tied = [part for tied in graph.tied_groups for part in _agreeing(tied, shares)]
        self.floors = [_floor(tied, budget.floor, budget.align) for tied in self.tied]
        self.ranked = [tied.levels(scores) for tied in self.tied]
        self.scores = [level_scores(scores[levels]) for levels in self.ranked]
        self.steps = [_step(tied, budget.align) for tied in self.tied]
        self.fixed = self._fixed(shares)
        free = [i for i in range(len(self.tied)) if i not in self.fixed]
        above = [np.full(len(self.ranked[i]) - self.floors[i], i) for i in free]
        heights = np.concatenate([*(self.scores[i][self.floors[i] :] for i in free), np.zeros(0)])
        self.order = np.concatenate([*above, np.zeros(0, dtype=int)])[np.argsort(heights, kind="stable")]

    def _fixed(self, shares: Mapping[int, float]) -> dict[int, int]:
        """Return the level of each of the tied groups that have their own share."""
        fixed = {}
        for index, (tied, step) in enumerate(zip(self.tied, self.steps, strict=True)):
            for group in tied.groups:
                if group.index in shares:
                    level = step * max(1, round(shares[group.index] * tied.size / step))
                    fixed[index] = int(min(tied.size, max(self.floors[index], level)))
        return fixed

    def keep_at(self, dropped: int) -> Bools:
        """Return the keep-set after the first ``dropped`` drops, rounded up to the alignment."""
        keep = np.ones(self.graph.classes, dtype=bool)
        removed = np.bincount(self.order[:dropped], minlength=len(self.tied))
        for index, (tied, ranked, step) in enumerate(zip(self.tied, self.ranked, self.steps, strict=True)):
            level = min(tied.size, step * math.ceil((tied.size - removed[index]) / step))
            keep[ranked[self.fixed.get(index, level) :]] = False
        return keep

    def refine(self, keep: Bools, goals: Mapping[str, float]) -> Bools:
        """Restore the most important channels, one aligned step at a time, while the budget allows."""
        keep, costs_so_far = keep.copy(), _IncrementalCosts(self.budget, self.graph, keep)
        levels = [int(keep[ranked[:, 0]].sum()) for ranked in self.ranked]
        waiting: list[tuple[float, int]] = []

        def queue(index: int) -> None:
            if index not in self.fixed and levels[index] < self.tied[index].size:
                heapq.heappush(waiting, (-self.scores[index][levels[index]], index))

        for index in range(len(self.tied)):
            queue(index)
        while waiting:
            _, index = heapq.heappop(waiting)
            step = self.ranked[index][levels[index] :][: self.steps[index]]
            costs, position = costs_so_far.after(step.reshape(-1))
            # A step that does not fit now never fits later: further steps only raise the costs.
            if all(costs[kind] <= goal for kind, goal in goals.items()):
                costs_so_far.take(position)
                keep[step] = True
                levels[index] += len(step)
                queue(index)
        return keep


class _IncrementalCosts:
    """The costs of all goals for a growing keep-set."""

    def __init__(self, budget: "Budget", graph: Graph, keep: Bools) -> None:
        self.costs = {kind: budget.resource(kind).growing(graph, keep) for kind in budget.goals}

    def after(self, classes: Ints) -> tuple[dict[str, float], dict[str, Any]]:
        """Return the costs with ``classes`` added, and the position for `take` to continue from."""
        after = {kind: cost.after(classes) for kind, cost in self.costs.items()}
        return {kind: cost for kind, (cost, _) in after.items()}, {
            kind: on for kind, (_, on) in after.items()
        }

    def take(self, after: Mapping[str, Any]) -> None:
        """Continue from a position that `after` returned."""
        for kind, cost in self.costs.items():
            cost.take(after[kind])


def evened(graph: Graph, keep: Bools, scores: NDArray[np.float64]) -> Bools:
    """Return ``keep`` with the most important dropped classes restored where equal pieces became unequal.

    Args:
        graph: the traced model.
        keep: (classes,) mask of kept classes.
        scores: (classes,), higher is more important; every kept class scores higher than all others.
    """
    keep = keep.copy()
    for tied in graph.tied_groups:
        parts = [part for parts in tied.parts for part in parts]
        if len(parts) > 1:
            level = max(-(-int(keep[part].sum()) * tied.size // len(part)) for part in parts)
            keep[tied.levels(scores)[:level]] = True
    return keep


def level_scores(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the importance of each level of tied groups, (levels, classes of each): the mean of its classes.

    A class that must be kept (infinity) keeps its level; one to prune first (minus infinity) counts as the least.
    """
    if scores.shape[1] == 1:
        return scores[:, 0]
    least = scores[np.isfinite(scores)].min(initial=0.0)
    return np.asarray(np.where(np.isneginf(scores), least, scores).mean(1))


def _shares(graph: Graph, ratios: Mapping[str, float]) -> dict[int, float]:
    """Return the share to keep of each group that ``ratios`` names, by index."""
    names = {g.name: g for g in graph.groups}
    if not isinstance(ratios, Mapping):
        raise TargetError(f"ratios are set by group, as in {{'layer1': 0.5}}, not {kind_of(ratios)}")
    shares: dict[int, float] = {}
    for name, ratio in ratios.items():
        if isinstance(ratio, bool) or not isinstance(ratio, numbers.Real):
            raise TargetError(f"the ratio of {name} must be a number, not {short(ratio)}")
        if name not in names:
            raise PlanError(known("layer", name, list(names)))
        if not 0 < ratio <= 1:
            raise PlanError(f"the ratio of {name} is {ratio}, outside (0, 1]: it is the share that is kept")
        shares[names[name].index] = ratio
    return shares


def _agreeing(tied: TiedGroups, shares: Mapping[int, float]) -> list[TiedGroups]:
    """Return tied groups, or each group alone where they are different for different shares."""
    different = {shares[index] for index in tied.indices if index in shares}
    return [tied] if len(different) < 2 else [TiedGroups((g,), ((g.classes,),)) for g in tied.groups]
