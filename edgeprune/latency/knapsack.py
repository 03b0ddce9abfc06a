"""Select the most important channels that a device computes within the goals.

A knapsack with couplings: a group's width decides the time of all layers that write or read it, together with
the widths of their other groups. Widths are multiples of the device's steps, so that no computed channel is
unused; whole residual blocks can be removed. Greedy from the full network, and again from one without blocks,
by importance lost per reduction of the excess (where goals conflict, as FLOPs and time per FLOP, some groups
are widened again on the way); then channels are given back, and exchanged between groups, while importance
grows.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgeprune.errors import TargetError
from edgeprune.graph.classes import Graph
from edgeprune.graph.plan import Plan
from edgeprune.latency.valuation import Candidate, Valuation
from edgeprune.latency.width_costs import Ints, WidthCost
from edgeprune.latency.width_levels import WidthLevels

Floats = NDArray[np.float64]
TINY = 1e-12
NEAR = 3  # steps down in one exchange; larger changes take several exchanges


class KnapsackSolver:
    """Selects channels for one set of goals.

    Args:
        graph: the traced model.
        scores: (graph.classes,), higher is more important.
        costs: name -> cost at the groups' widths.
        goals: name -> the most that it may be.
        steps: for each group, the multiple that widths are kept at.
        floor: fewest channels of a group, except for blocks that are removed completely.
        blocks: sets of groups that can be removed together; None finds them.
        spend: names of goals of which one must be used up to at least `SPENT` (see valuation.py): speed per
            FLOP, for example, must not come from keeping far fewer FLOPs than the target.
    """

    def __init__(
        self,
        graph: Graph,
        scores: Floats,
        costs: Mapping[str, WidthCost | Callable[[Ints], float]],
        goals: Mapping[str, float],
        *,
        steps: Ints,
        floor: int = 2,
        blocks: Sequence[tuple[int, ...]] | None = None,
        spend: Sequence[str] = (),
    ) -> None:
        self.graph = graph
        self.levels = WidthLevels(graph, scores, steps, floor, blocks)
        self.valuation = Valuation(self.levels, costs, goals, spend)

    def plan(self) -> Plan:
        """Return the keep-plan.

        Raises:
            TargetError: the fewest channels, steps and protected channels do not allow it; says what can be
                reached.
        """
        full = self.valuation.at(np.array([group.size for group in self.graph.groups], dtype=np.int64))
        blocks = self.by_blocks(full)
        candidates: list[Candidate] = []
        first_error: TargetError | None = None
        # Greedy steps are short-sighted: pruning one group makes removing its block look expensive later.
        for start in [full] if blocks is full else [full, blocks]:
            try:
                candidates.append(self.up(self.down(start, full)))
            except TargetError as error:
                first_error = first_error or error
        if not candidates:
            assert first_error is not None
            raise first_error
        best = max(candidates, key=lambda state: state.importance)
        plan = Plan.of(self.graph, self.levels.keep(best.counts))
        return replace(plan, bypass=True)  # a removed block must cost nothing

    def by_blocks(self, state: Candidate) -> Candidate:
        """Remove whole blocks, and nothing else, while that approaches the goals."""
        while state.excess > 0:
            gone = (self.valuation.after(state, move) for move in self.levels.without(state.counts))
            better = self._nearer(state, gone)
            if better is None:
                break
            state = better
        return state

    def down(self, state: Candidate, full: Candidate) -> Candidate:
        """Prune until the goals are met; widen where that helps: a layer may be fast for its FLOPs.

        Args:
            state: to prune.
            full: all widths, for the message where the goals cannot be met.
        """
        while state.excess > 0:
            singles = (
                self.valuation.after(state, move)
                for move in (*self.levels.narrower(state.counts), *self.levels.wider(state.counts))
            )
            better = self._nearer(state, singles) or self._nearer(state, self._pairs(state))
            if better is None:
                raise TargetError(self.valuation.how_far(state, full))
            state = better
        return state

    def _nearer(self, state: Candidate, afterwards: Iterable[Candidate]) -> Candidate | None:
        """Return the candidate that reduces the excess most per importance lost; None if none does."""
        best: tuple[float, Candidate] | None = None
        for after in afterwards:
            if after.excess >= state.excess:
                continue
            worth = (state.excess - after.excess) / max(TINY, state.importance - after.importance)
            if best is None or worth > best[0]:
                best = (worth, after)
        return None if best is None else best[1]

    def _pairs(self, state: Candidate) -> Iterator[Candidate]:
        """Yield a group wider and another pruned: with conflicting goals no single move may help."""
        for up in self.levels.wider(state.counts):
            raised = self.valuation.after(state, up)
            yield from (
                self.valuation.after(raised, down) for down in self.levels.narrower(raised.counts, NEAR)
            )

    def up(self, state: Candidate) -> Candidate:
        """Give back what fits; then exchange, a group up and another down, while importance grows."""
        while True:
            state = self._filled(state)
            better = self._exchanged(state)
            if better is None:
                return state
            state = better

    def _filled(self, state: Candidate) -> Candidate:
        while True:
            wider = (self.valuation.after(state, move) for move in self.levels.wider(state.counts))
            fits = [after for after in wider if after.excess <= 0 and after.importance > state.importance]
            if not fits:
                return state
            state = max(fits, key=lambda after: after.importance)

    def _exchanged(self, state: Candidate) -> Candidate | None:
        best, least = None, state.importance + 1e-9 * max(1.0, abs(state.importance))
        for up in self.levels.wider(state.counts):
            raised = self.valuation.after(state, up)
            for down in self.levels.narrower(raised.counts, NEAR):
                if raised.importance + self.valuation.gain(raised, down) <= least:
                    continue  # its cost is irrelevant
                after = self.valuation.after(raised, down)
                if after.excess <= 0:
                    best, least = after, after.importance
        return best
