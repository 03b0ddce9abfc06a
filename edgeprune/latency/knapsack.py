"""Select the most important channels that a device computes within the goals.

A knapsack with couplings: a group's width decides the time of all layers that write or read it, together with
the widths of their other groups. Widths are multiples of the device's steps, so that no computed channel is
unused; whole residual blocks can be removed. Greedy from the full network, and again from one without blocks,
by importance lost per reduction of the excess (where goals conflict, as FLOPs and time per FLOP, some groups
are widened again on the way); then channels are given back, and exchanged between groups, while importance
grows.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edgeprune.budget import floors_of
from edgeprune.errors import TargetError
from edgeprune.graph.classes import Graph
from edgeprune.graph.plan import Plan
from edgeprune.latency.blocks import removable

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
EMPTY = np.zeros(0, dtype=np.int64)
TINY = 1e-12
SPENT = 0.95  # of a goal
NEAR = 3  # steps down in one exchange; larger changes take several exchanges


@runtime_checkable
class WidthCost(Protocol):
    """A cost as a function of the groups' widths."""

    def __call__(self, widths: Ints) -> float:
        """Return the cost at these widths."""
        ...

    def moved(self, widths: Ints, before: float, groups: tuple[int, ...], to: tuple[int, ...]) -> float:
        """Return the cost after some groups change their width.

        Args:
            widths: (groups,) channels of each group.
            before: the cost there.
            groups: that change.
            to: their new widths.
        """
        ...


@dataclass(frozen=True)
class FunctionCost:
    """Any function of the widths as a `WidthCost`."""

    function: Callable[[Ints], float]

    def __call__(self, widths: Ints) -> float:
        """Return the cost at these widths."""
        return self.function(widths)

    def moved(self, widths: Ints, before: float, groups: tuple[int, ...], to: tuple[int, ...]) -> float:  # noqa: ARG002
        """Return the cost after some groups change their width, evaluated anew.

        Args:
            widths: (groups,) channels of each group.
            before: unused.
            groups: that change.
            to: their new widths.
        """
        return self.function(Move(groups, to).apply(widths))


@dataclass(frozen=True)
class Move:
    """Groups and their new widths."""

    groups: tuple[int, ...]
    widths: tuple[int, ...]

    def apply(self, counts: Ints) -> Ints:
        """Return the widths afterwards."""
        out = counts.copy()
        out[list(self.groups)] = self.widths
        return out


@dataclass(frozen=True)
class Candidate:
    """Widths, their costs, the importance kept, and by how much the goals are missed."""

    counts: Ints
    costs: tuple[float, ...]
    importance: float
    excess: float


class PerFlop:
    """The fraction of the time over the fraction of the FLOPs: time per FLOP, 1 in the unpruned model."""

    def __init__(self, time: WidthCost, flops: WidthCost, whole_ms: float, whole_flops: float) -> None:
        self.time, self.flops, self.scale = time, flops, whole_flops / whole_ms
        self._last: tuple[bytes, float, float] = (b"", 0.0, 0.0)

    def __call__(self, widths: Ints) -> float:
        """Return the cost at these widths."""
        return self._ratio(*self._both(widths))

    def moved(self, widths: Ints, before: float, groups: tuple[int, ...], to: tuple[int, ...]) -> float:  # noqa: ARG002
        """Return the cost after some groups change their width.

        Many moves start from the same widths, whose cost is cached.

        Args:
            widths: (groups,) channels of each group.
            before: unused.
            groups: that change.
            to: their new widths.
        """
        time, flops = self._both(widths)
        return self._ratio(
            self.time.moved(widths, time, groups, to), self.flops.moved(widths, flops, groups, to)
        )

    def _both(self, widths: Ints) -> tuple[float, float]:
        key = widths.tobytes()
        if self._last[0] != key:
            self._last = key, self.time(widths), self.flops(widths)
        return self._last[1:]

    def _ratio(self, time: float, flops: float) -> float:
        return self.scale * time / max(flops, 1.0)


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
        spend: names of goals of which one must be used up to at least `SPENT`: speed per FLOP, for example,
            must not come from keeping far fewer FLOPs than the target.
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
        self.costs: dict[str, WidthCost] = {
            name: cost if isinstance(cost, WidthCost) else FunctionCost(cost) for name, cost in costs.items()
        }
        self.goals = {name: goals[name] for name in costs}
        self.spend = [list(costs).index(name) for name in spend]
        self.tied = [tied.indices for tied in graph.tied_groups]
        self.ranked, self.widths = [EMPTY] * len(graph.groups), [[0]] * len(graph.groups)
        for tied, least in zip(graph.tied_groups, floors_of(graph, floor), strict=True):
            step = tied.step([int(steps[index]) for index in tied.indices])
            levels = [n for n in range(tied.size, 0, -1) if n == tied.size or (n % step == 0 and n >= least)]
            for place, (index, ranked) in enumerate(zip(tied.indices, tied.ranked(scores), strict=True)):
                self.ranked[index] = ranked.reshape(-1)
                self.widths[index] = [tied.widths(level)[place] for level in levels]
        self.kept = [np.append(0.0, np.cumsum(scores[ranked])) for ranked in self.ranked]
        blocks = removable(graph) if blocks is None else blocks
        # Removing one piece without the others would leave them unequal.
        self.blocks = [
            b for b in blocks if all(set(tied) <= {*b} or not {*b} & {*tied} for tied in self.tied)
        ]

    def plan(self) -> Plan:
        """Return the keep-plan.

        Raises:
            TargetError: the fewest channels, steps and protected channels do not allow it; says what can be
                reached.
        """
        full = self.at(np.array([group.size for group in self.graph.groups], dtype=np.int64))
        blocks = self.by_blocks(full)
        candidates: list[Candidate] = []
        first_error: TargetError | None = None
        # Greedy steps are short-sighted: pruning one group makes removing its block look expensive later.
        for start in [full] if blocks is full else [full, blocks]:
            try:
                candidates.append(self.up(self.down(start)))
            except TargetError as error:
                first_error = first_error or error
        if not candidates:
            assert first_error is not None
            raise first_error
        best = max(candidates, key=lambda state: state.importance)
        plan = Plan.of(self.graph, self.keep(best.counts))
        return replace(plan, bypass=True)  # a removed block must cost nothing

    def by_blocks(self, state: Candidate) -> Candidate:
        """Remove whole blocks, and nothing else, while that approaches the goals."""
        while state.excess > 0:
            gone = (self.after(state, move) for move in self.without(state.counts))
            better = self._nearer(state, gone)
            if better is None:
                break
            state = better
        return state

    def keep(self, counts: Ints) -> NDArray[np.bool_]:
        """Return the keep-mask of the most important channels of each group, (graph.classes,)."""
        keep = np.zeros(self.graph.classes, dtype=bool)
        for ranked, count in zip(self.ranked, counts, strict=True):
            keep[ranked[:count]] = True
        return keep

    def at(self, counts: Ints) -> Candidate:
        """Evaluate these widths."""
        costs = tuple(cost(counts) for cost in self.costs.values())
        importance = float(sum(kept[count] for kept, count in zip(self.kept, counts, strict=True)))
        return Candidate(counts, costs, importance, self._excess(costs))

    def after(self, state: Candidate, move: Move) -> Candidate:
        """Evaluate the widths after a move, from what changes."""
        costs = tuple(
            cost.moved(state.counts, before, move.groups, move.widths)
            for cost, before in zip(self.costs.values(), state.costs, strict=True)
        )
        importance = state.importance + self._gain(state, move)
        return Candidate(move.apply(state.counts), costs, importance, self._excess(costs))

    def _gain(self, state: Candidate, move: Move) -> float:
        """Return the importance that a move gains; below 0 where it prunes."""
        return float(
            sum(
                self.kept[group][width] - self.kept[group][state.counts[group]]
                for group, width in zip(move.groups, move.widths, strict=True)
            )
        )

    def _excess(self, costs: Sequence[float]) -> float:
        """Return by how much the goals are missed, as fractions of them; 0 when all are met."""
        shares = [cost / goal for cost, goal in zip(costs, self.goals.values(), strict=True)]
        unspent = max(0.0, SPENT - max(shares[index] for index in self.spend)) if self.spend else 0.0
        # Costs that are updated by differences accumulate rounding errors.
        return unspent + sum(max(0.0, share - 1 - 1e-9) for share in shares)

    def down(self, state: Candidate) -> Candidate:
        """Prune until the goals are met; widen where that helps: a layer may be fast for its FLOPs."""
        while state.excess > 0:
            singles = (
                self.after(state, move) for move in (*self.narrower(state.counts), *self.wider(state.counts))
            )
            better = self._nearer(state, singles) or self._nearer(state, self._pairs(state))
            if better is None:
                raise TargetError(self.how_far(state))
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
        for up in self.wider(state.counts):
            raised = self.after(state, up)
            yield from (self.after(raised, down) for down in self.narrower(raised.counts, NEAR))

    def narrower(self, counts: Ints, most: int | None = None) -> Iterator[Move]:
        """Yield each tied set of groups at its next ``most`` lower widths, and the removal of every block."""
        for tied in self.tied:
            lower = [place for place, width in enumerate(self.widths[tied[0]]) if width < counts[tied[0]]]
            yield from (self._move(tied, place) for place in lower[:most])
        yield from self.without(counts)

    def without(self, counts: Ints) -> Iterator[Move]:
        """Yield the removal of every block."""
        for block in self.blocks:
            if counts[list(block)].any():
                yield Move(block, (0,) * len(block))

    def wider(self, counts: Ints) -> Iterator[Move]:
        """Yield every group one step up, and every removed block at its fewest channels."""
        for tied in self.tied:
            above = [place for place, width in enumerate(self.widths[tied[0]]) if width > counts[tied[0]]]
            if counts[tied[0]] and above:
                yield self._move(tied, above[-1])
        for block in self.blocks:
            if not counts[list(block)].any():
                yield Move(block, tuple(self.widths[group][-1] for group in block))

    def _move(self, tied: tuple[int, ...], place: int) -> Move:
        """Return the move of tied groups to their widths at one level."""
        return Move(tied, tuple(self.widths[group][place] for group in tied))

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
            wider = (self.after(state, move) for move in self.wider(state.counts))
            fits = [after for after in wider if after.excess <= 0 and after.importance > state.importance]
            if not fits:
                return state
            state = max(fits, key=lambda after: after.importance)

    def _exchanged(self, state: Candidate) -> Candidate | None:
        best, least = None, state.importance + 1e-9 * max(1.0, abs(state.importance))
        for up in self.wider(state.counts):
            raised = self.after(state, up)
            for down in self.narrower(raised.counts, NEAR):
                if raised.importance + self._gain(raised, down) <= least:
                    continue  # its cost is irrelevant
                after = self.after(raised, down)
                if after.excess <= 0:
                    best, least = after, after.importance
        return best

    def how_far(self, state: Candidate) -> str:
        """Return the message for goals that cannot be met."""
        reached = ", ".join(
            f"{name} {cost:.4g} where the target is {goal:.4g}"
            for (name, goal), cost in zip(self.goals.items(), state.costs, strict=True)
        )
        return (
            f"the target cannot be reached: floors, the device's steps and protected channels allow {reached}"
        )
