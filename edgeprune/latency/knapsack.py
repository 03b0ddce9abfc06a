"""The most important channels that a device computes in the time there is.

A knapsack with couplings: a group's width decides the time of all layers that write or read it, together with
the widths of the others there. Widths are on the device's steps, so that none is paid for and left unused;
whole residual blocks may go. Greedy from the full network, and once more from one whose blocks went first, by
importance lost for each share of the excess that goes (where goals are at odds, as FLOPs and the time for
each of them, some groups are widened again on the way); then channels are given back, and exchanged between
groups, while that gains.
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
NEAR = 3  # steps down that an exchange looks at: a group that gives up more is found in several exchanges


@runtime_checkable
class WidthCost(Protocol):
    """A cost as a function of the groups' widths."""

    def __call__(self, widths: Ints) -> float:
        """At these widths."""
        ...

    def moved(self, widths: Ints, before: float, groups: tuple[int, ...], to: tuple[int, ...]) -> float:
        """When ``groups`` go from ``widths``, where the cost is ``before``, to others."""
        ...


@dataclass(frozen=True)
class FunctionCost:
    """Any function of the widths as a `WidthCost`."""

    function: Callable[[Ints], float]

    def __call__(self, widths: Ints) -> float:
        """At these widths."""
        return self.function(widths)

    def moved(self, widths: Ints, before: float, groups: tuple[int, ...], to: tuple[int, ...]) -> float:  # noqa: ARG002
        """Reckoned anew."""
        return self.function(Move(groups, to).apply(widths))


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


@dataclass(frozen=True)
class Candidate:
    """Widths, what they cost, the importance that stays, and by how much the goals are missed."""

    counts: Ints
    costs: tuple[float, ...]
    importance: float
    excess: float


class PerFlop:
    """The share of the time over the share of the FLOPs: what a FLOP costs, 1 in the unpruned model."""

    def __init__(self, time: WidthCost, flops: WidthCost, whole_ms: float, whole_flops: float) -> None:
        self.time, self.flops, self.scale = time, flops, whole_flops / whole_ms
        self._last: tuple[bytes, float, float] = (b"", 0.0, 0.0)

    def __call__(self, widths: Ints) -> float:
        """At these widths."""
        return self._ratio(*self._both(widths))

    def moved(self, widths: Ints, before: float, groups: tuple[int, ...], to: tuple[int, ...]) -> float:  # noqa: ARG002
        """Many moves are asked of the same widths: what they cost is kept."""
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
    """One choice under way.

    Args:
        graph: the traced model.
        scores: (graph.classes,), higher is more important.
        costs: name -> cost at the groups' widths.
        goals: name -> the most that it may be.
        steps: for each group, the multiple that widths are kept at.
        floor: no group keeps fewer channels, but for a block that goes whole.
        blocks: sets of groups that may go whole; None finds them.
        spend: names of goals of which one is to be used up to `SPENT` at least; speed for each FLOP, say, is
            not to be bought by leaving far fewer of them than was asked.
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
        # A piece that went without the others would leave them unequal.
        self.blocks = [
            b for b in blocks if all(set(tied) <= {*b} or not {*b} & {*tied} for tied in self.tied)
        ]

    def plan(self) -> Plan:
        """The keep-plan.

        Raises:
            TargetError: floors, steps and protected channels do not allow it; says how far it can go.
        """
        full = self.at(np.array([group.size for group in self.graph.groups], dtype=np.int64))
        blocks = self.by_blocks(full)
        found: list[Candidate] = []
        why: TargetError | None = None
        # Greedy steps are short-sighted: a group that was narrowed makes its whole block look dear later.
        for start in [full] if blocks is full else [full, blocks]:
            try:
                found.append(self.up(self.down(start)))
            except TargetError as error:
                why = why or error
        if not found:
            assert why is not None
            raise why
        best = max(found, key=lambda state: state.importance)
        plan = Plan.of(self.graph, self.keep(best.counts))
        return replace(plan, bypass=True)  # a block that went whole is to cost nothing

    def by_blocks(self, state: Candidate) -> Candidate:
        """Let blocks go whole, and nothing else, while that leads towards the goals."""
        while state.excess > 0:
            gone = (self.after(state, move) for move in self.without(state.counts))
            better = self._nearer(state, gone)
            if better is None:
                break
            state = better
        return state

    def keep(self, counts: Ints) -> NDArray[np.bool_]:
        """The most important channels of each group."""
        keep = np.zeros(self.graph.classes, dtype=bool)
        for ranked, count in zip(self.ranked, counts, strict=True):
            keep[ranked[:count]] = True
        return keep

    def at(self, counts: Ints) -> Candidate:
        """Everything that is to be known of these widths."""
        costs = tuple(cost(counts) for cost in self.costs.values())
        importance = float(sum(kept[count] for kept, count in zip(self.kept, counts, strict=True)))
        return Candidate(counts, costs, importance, self._excess(costs))

    def after(self, state: Candidate, move: Move) -> Candidate:
        """The same after a move, by what changes."""
        costs = tuple(
            cost.moved(state.counts, before, move.groups, move.widths)
            for cost, before in zip(self.costs.values(), state.costs, strict=True)
        )
        importance = state.importance + self._gain(state, move)
        return Candidate(move.apply(state.counts), costs, importance, self._excess(costs))

    def _gain(self, state: Candidate, move: Move) -> float:
        """What a move brings in importance; below 0 where it narrows."""
        return float(
            sum(
                self.kept[group][width] - self.kept[group][state.counts[group]]
                for group, width in zip(move.groups, move.widths, strict=True)
            )
        )

    def _excess(self, costs: Sequence[float]) -> float:
        """By how much the goals are missed, as shares of them; 0 when all are met."""
        shares = [cost / goal for cost, goal in zip(costs, self.goals.values(), strict=True)]
        unspent = max(0.0, SPENT - max(shares[index] for index in self.spend)) if self.spend else 0.0
        # Costs that are told by their changes gather rounding errors.
        return unspent + sum(max(0.0, share - 1 - 1e-9) for share in shares)

    def down(self, state: Candidate) -> Candidate:
        """Narrow until the goals are met; widen where that helps: a layer may be fast for its FLOPs."""
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
        """The one that takes most of the excess for the importance it costs; None where none takes any."""
        best: tuple[float, Candidate] | None = None
        for after in afterwards:
            if after.excess >= state.excess:
                continue
            worth = (state.excess - after.excess) / max(TINY, state.importance - after.importance)
            if best is None or worth > best[0]:
                best = (worth, after)
        return None if best is None else best[1]

    def _pairs(self, state: Candidate) -> Iterator[Candidate]:
        """A group wider and another narrower: where goals are at odds, no single move may lead on."""
        for up in self.wider(state.counts):
            raised = self.after(state, up)
            yield from (self.after(raised, down) for down in self.narrower(raised.counts, NEAR))

    def narrower(self, counts: Ints, most: int | None = None) -> Iterator[Move]:
        """Every group, or those tied to it, at every lower width, or the next ``most`` of them; every block gone."""
        for tied in self.tied:
            lower = [place for place, width in enumerate(self.widths[tied[0]]) if width < counts[tied[0]]]
            yield from (self._move(tied, place) for place in lower[:most])
        yield from self.without(counts)

    def without(self, counts: Ints) -> Iterator[Move]:
        """Every block gone."""
        for block in self.blocks:
            if counts[list(block)].any():
                yield Move(block, (0,) * len(block))

    def wider(self, counts: Ints) -> Iterator[Move]:
        """Every group one step up; every block that went, back at its least."""
        for tied in self.tied:
            above = [place for place, width in enumerate(self.widths[tied[0]]) if width > counts[tied[0]]]
            if counts[tied[0]] and above:
                yield self._move(tied, above[-1])
        for block in self.blocks:
            if not counts[list(block)].any():
                yield Move(block, tuple(self.widths[group][-1] for group in block))

    def _move(self, tied: tuple[int, ...], place: int) -> Move:
        """Tied groups at their widths of that place."""
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
                    continue  # what it costs need not be known
                after = self.after(raised, down)
                if after.excess <= 0:
                    best, least = after, after.importance
        return best

    def how_far(self, state: Candidate) -> str:
        """The message for goals that cannot be met."""
        reached = ", ".join(
            f"{name} {cost:.4g} where {goal:.4g} was asked"
            for (name, goal), cost in zip(self.goals.items(), state.costs, strict=True)
        )
        return (
            f"the target cannot be reached: floors, the device's steps and protected channels allow {reached}"
        )
