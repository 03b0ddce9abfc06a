"""Value widths: what they cost, what importance they keep, and by how much they miss the goals."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgeprune import resources
from edgeprune.latency.width_costs import FunctionCost, Ints, Move, WidthCost
from edgeprune.latency.width_levels import WidthLevels

SPENT = 0.95  # of a goal


@dataclass(frozen=True)
class Candidate:
    """Widths, their costs, the importance kept, and by how much the goals are missed."""

    counts: Ints
    costs: tuple[float, ...]
    importance: float
    excess: float


class Valuation:
    """Evaluates widths for one set of goals.

    Args:
        levels: of the widths, with the importance that they keep.
        costs: name -> cost at the groups' widths.
        goals: name -> the most that it may be.
        spend: names of goals of which one must be used up to at least `SPENT`: speed per FLOP, for example,
            must not come from keeping far fewer FLOPs than the target.
    """

    def __init__(
        self,
        levels: WidthLevels,
        costs: Mapping[str, WidthCost | Callable[[Ints], float]],
        goals: Mapping[str, float],
        spend: Sequence[str] = (),
    ) -> None:
        self.levels = levels
        self.costs: dict[str, WidthCost] = {
            name: cost if isinstance(cost, WidthCost) else FunctionCost(cost) for name, cost in costs.items()
        }
        self.goals = {name: goals[name] for name in costs}
        self.spend = [list(costs).index(name) for name in spend]

    def at(self, counts: Ints) -> Candidate:
        """Evaluate these widths."""
        costs = tuple(cost(counts) for cost in self.costs.values())
        importance = float(sum(kept[count] for kept, count in zip(self.levels.kept, counts, strict=True)))
        return Candidate(counts, costs, importance, self._excess(costs))

    def after(self, state: Candidate, move: Move) -> Candidate:
        """Evaluate the widths after a move, from what changes."""
        costs = tuple(
            cost.moved(state.counts, before, move.groups, move.widths)
            for cost, before in zip(self.costs.values(), state.costs, strict=True)
        )
        importance = state.importance + self.gain(state, move)
        return Candidate(move.apply(state.counts), costs, importance, self._excess(costs))

    def gain(self, state: Candidate, move: Move) -> float:
        """Return the importance that a move gains; below 0 where it prunes."""
        return float(
            sum(
                self.levels.kept[group][width] - self.levels.kept[group][state.counts[group]]
                for group, width in zip(move.groups, move.widths, strict=True)
            )
        )

    def _excess(self, costs: Sequence[float]) -> float:
        """Return by how much the goals are missed, as fractions of them; 0 when all are met."""
        shares = [cost / goal for cost, goal in zip(costs, self.goals.values(), strict=True)]
        unspent = max(0.0, SPENT - max(shares[index] for index in self.spend)) if self.spend else 0.0
        # Costs that are updated by differences accumulate rounding errors.
        return unspent + sum(max(0.0, share - 1 - 1e-9) for share in shares)

    def how_far(self, state: Candidate, full: Candidate) -> str:
        """Return the message for goals that cannot be met.

        Args:
            state: the widths that come nearest.
            full: all widths.
        """
        reached = ", ".join(
            f"{name}={math.ceil(1e3 * cost / original) / 1e3:g} ({self._amount(name, cost)}) at the least, where "
            f"{self._amount(name, goal)} is needed"
            for (name, goal), cost, original in zip(self.goals.items(), state.costs, full.costs, strict=True)
            if cost > goal
        )
        return (
            f"the target cannot be reached: floors, the device's steps and protected channels allow {reached}"
        )

    @staticmethod
    def _amount(name: str, value: float) -> str:
        unit = resources.get(name).unit
        return f"{value:.4g} {unit}" if unit else f"{value:,.0f}"
