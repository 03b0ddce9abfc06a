"""The most important channels that a device computes in the time there is.

A knapsack with couplings: a group's width decides the time of all layers that write or read it, together with
the widths of the others there. Widths are on the device's steps, so that none is paid for and left unused;
whole residual blocks may go. Greedy from the full network, by importance lost for each share of the excess
that goes; then channels are given back, and exchanged between groups, while that gains.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeprune.budget import floors_of
from edgeprune.errors import TargetError
from edgeprune.graph.classes import Graph
from edgeprune.latency.blocks import removable
from edgeprune.plan import Plan

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Cost = Callable[[Ints], float]

TINY = 1e-12


@dataclass(frozen=True)
class Move:
    """Groups and the widths they take."""

    groups: tuple[int, ...]
    widths: tuple[int, ...]

    def apply(self, counts: Ints) -> Ints:
        """The widths afterwards."""
        out = counts.copy()
        out[list(self.groups)] = self.widths
        return out


class Chooser:
    """One choice under way.

    Args:
        graph: the traced model.
        scores: (graph.classes,), higher is more important.
        costs: name -> cost at the groups' widths.
        goals: name -> the most that it may be.
        steps: for each group, the multiple that widths are kept at.
        floor: no group keeps fewer channels, but for a block that goes whole.
        blocks: sets of groups that may go whole; None finds them.
    """

    def __init__(
        self,
        graph: Graph,
        scores: Floats,
        costs: Mapping[str, Cost],
        goals: Mapping[str, float],
        *,
        steps: Ints,
        floor: int = 2,
        blocks: Sequence[tuple[int, ...]] | None = None,
    ) -> None:
        self.graph, self.costs, self.goals = graph, costs, goals
        self.ranked = [g.classes[np.argsort(-scores[g.classes], kind="stable")] for g in graph.groups]
        self.kept = [np.append(0.0, np.cumsum(scores[ranked])) for ranked in self.ranked]
        floors = floors_of(graph, floor)
        self.widths = [
            [
                w
                for w in range(g.size, 0, -1)
                if w == g.size or (w % steps[g.index] == 0 and w >= floors[g.index])
            ]
            for g in graph.groups
        ]
        self.blocks = removable(graph) if blocks is None else list(blocks)

    def plan(self) -> Plan:
        """The keep-plan.

        Raises:
            TargetError: floors, steps and protected channels do not allow it; says how far it can go.
        """
        counts = self.down(np.array([group.size for group in self.graph.groups], dtype=np.int64))
        counts = self.up(counts)
        return Plan.of(self.graph, self.keep(counts))

    def keep(self, counts: Ints) -> NDArray[np.bool_]:
        """The most important channels of each group."""
        keep = np.zeros(self.graph.classes, dtype=bool)
        for ranked, count in zip(self.ranked, counts, strict=True):
            keep[ranked[:count]] = True
        return keep

    def importance(self, counts: Ints) -> float:
        """The sum of the scores that stay."""
        return float(sum(kept[count] for kept, count in zip(self.kept, counts, strict=True)))

    def excess(self, counts: Ints) -> float:
        """By how much the goals are missed, as shares of them; 0 when all are met."""
        return sum(max(0.0, cost(counts) / self.goals[name] - 1) for name, cost in self.costs.items())

    def down(self, counts: Ints) -> Ints:
        """Narrow until the goals are met."""
        excess = self.excess(counts)
        while excess > 0:
            best: tuple[float, float, Ints] | None = None
            for move in self.narrower(counts):
                after = move.apply(counts)
                left = self.excess(after)
                if left >= excess:
                    continue
                lost = max(TINY, self.importance(counts) - self.importance(after))
                worth = (excess - left) / lost
                if best is None or worth > best[0]:
                    best = (worth, left, after)
            if best is None:
                raise TargetError(self.how_far(counts))
            _, excess, counts = best
        return counts

    def narrower(self, counts: Ints) -> Iterator[Move]:
        """Every group at every lower width; every block gone."""
        for group, widths in enumerate(self.widths):
            yield from (Move((group,), (w,)) for w in widths if w < counts[group])
        for block in self.blocks:
            if counts[list(block)].any():
                yield Move(block, (0,) * len(block))

    def wider(self, counts: Ints) -> Iterator[Move]:
        """Every group one step up; every block that went, back at its least."""
        for group, widths in enumerate(self.widths):
            above = [w for w in widths if w > counts[group]]
            if counts[group] and above:
                yield Move((group,), (above[-1],))
        for block in self.blocks:
            if not counts[list(block)].any():
                yield Move(block, tuple(self.widths[group][-1] for group in block))

    def up(self, counts: Ints) -> Ints:
        """Give back what fits; then exchange, a group up and another down, while importance grows."""
        while True:
            counts = self._filled(counts)
            better = self._exchanged(counts)
            if better is None:
                return counts
            counts = better

    def _filled(self, counts: Ints) -> Ints:
        while True:
            fits = [after for move in self.wider(counts) if self.excess(after := move.apply(counts)) <= 0]
            fits = [after for after in fits if self.importance(after) > self.importance(counts)]
            if not fits:
                return counts
            counts = max(fits, key=self.importance)

    def _exchanged(self, counts: Ints) -> Ints | None:
        now = self.importance(counts)
        best, gained = None, 1e-9 * max(1.0, abs(now))
        for up in self.wider(counts):
            raised = up.apply(counts)
            for down in self.narrower(raised):
                after = down.apply(raised)
                gain = self.importance(after) - now
                if gain > gained and self.excess(after) <= 0:
                    best, gained = after, gain
        return best

    def how_far(self, counts: Ints) -> str:
        """The message for goals that cannot be met."""
        reached = ", ".join(
            f"{name} {cost(counts):.4g} where {self.goals[name]:.4g} was asked"
            for name, cost in self.costs.items()
        )
        return (
            f"the target cannot be reached: floors, the device's steps and protected channels allow {reached}"
        )
