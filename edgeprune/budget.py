"""Budgets: class scores in, keep-plan out, at a share of the FLOPs, parameters or memory."""

import heapq
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprune.arguments import check_graph, kind_of
from edgeprune.bounds import check_count, check_quantity
from edgeprune.errors import PlanError, TargetError, known
from edgeprune.graph.classes import Bools, Graph, Ints
from edgeprune.graph.pieces import TiedGroups
from edgeprune.plan import Plan
from edgeprune.text import one_line

LATENCY = "latency"
KINDS = ("flops", "params", "memory", LATENCY)
# What an amount may be given in; a number without a unit is a fraction of the unpruned model's.
UNITS = {
    LATENCY: {"us": 1e-3, "ms": 1.0, "s": 1e3},
    "memory": {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9},
}
TOLERANCE = 0.01  # a target counts as met within this share of itself
_AMOUNT = re.compile(r"\s*([-+.0-9eE]+)\s*([a-zA-Z]+)\s*")


@dataclass(frozen=True)
class Target:
    """What must remain: ``flops=0.5`` keeps half of the FLOPs, ``latency=8ms`` leaves eight milliseconds.

    Attributes:
        kind: one of `KINDS`.
        fraction: of the unpruned model's; None where an amount was given.
        amount: in ms or bytes; None where a fraction was given.
    """

    kind: str
    fraction: float | None
    amount: float | None = None

    @classmethod
    def parse(cls, text: "str | Target") -> "Target":
        """Read 'flops=0.5', 'params=0.3', 'memory=20MB' or 'latency=8ms'; raises TargetError otherwise."""
        if isinstance(text, Target):
            return text
        kind, sign, rest = str(text).partition("=")
        kind = kind.strip()
        if not sign:
            raise TargetError(f"target {text!r} is not KIND=FRACTION; write for example flops=0.5")
        if kind not in KINDS:
            raise TargetError(known("target", kind, list(KINDS)))
        match = _AMOUNT.fullmatch(rest)
        number, unit = match.groups() if match else (rest, "")
        try:
            value = float(number)
        except ValueError as error:
            hint = "write for example flops=0.5"
            raise TargetError(f"target {text!r}: {rest!r} is not a number; {hint}") from error
        if unit:
            return cls._amount(kind, value, unit, str(text))
        if not 0 < value <= 1:
            hint = f"; for an amount say its unit, one of {', '.join(UNITS.get(kind, ()))}"
            raise TargetError(
                f"target {text!r} is outside (0, 1]: it is the fraction that remains; {kind}=0.5 keeps half"
                + (hint if kind in UNITS else "")
            )
        return cls(kind, value)

    @classmethod
    def _amount(cls, kind: str, value: float, unit: str, text: str) -> "Target":
        units = UNITS.get(kind)
        if units is None:
            raise TargetError(f"target {text!r}: {kind} takes a fraction that remains, as in {kind}=0.5")
        if unit not in units:
            raise TargetError(f"target {text!r}: {known('unit', unit, list(units))}")
        if not 0 < value < math.inf:
            raise TargetError(f"target {text!r}: an amount is above 0")
        return cls(kind, None, value * units[unit])

    def __str__(self) -> str:
        if self.amount is None:
            return f"{self.kind}={self.fraction:g}"
        unit, size = {LATENCY: ("ms", 1.0), "memory": ("MB", 1e6)}[self.kind]
        return f"{self.kind}={self.amount / size:g}{unit}"

    def goal(self, original: float) -> float:
        """The most that may remain of ``original``."""
        return self.amount if self.amount is not None else (self.fraction or 0.0) * original


def parse_targets(text: "str | Target") -> tuple[Target, ...]:
    """Read one target, or several with commas between: 'flops=0.5,memory=20MB'.

    Raises:
        TargetError: one of them cannot be read, or two are of one kind.
    """
    if isinstance(text, Target):
        return (text,)
    found = tuple(Target.parse(part) for part in str(text).split(","))
    for kind in KINDS:
        if sum(target.kind == kind for target in found) > 1:
            raise TargetError(f"target {text!r} names {kind} twice")
    return found


def asks_time(targets: tuple[Target, ...]) -> bool:
    """Whether one of them is of latency, which only a device tells."""
    return any(target.kind == LATENCY for target in targets)


@dataclass(frozen=True)
class Budget:
    """The most that may remain of a model, and how its widths are chosen by scores.

    Attributes:
        targets: as they were asked for.
        originals: kind -> what the unpruned model takes: FLOPs, parameters, bytes or ms.
        align: widths become multiples of this.
        floor: no layer keeps fewer channels.
        way: the share of the way from the unpruned model that is to be gone; 1 is all of it.
    """

    targets: tuple[Target, ...]
    originals: Mapping[str, float]
    align: int = 1
    floor: int = 2
    way: float = 1.0

    def __post_init__(self) -> None:
        for name in ("align", "floor"):
            check_count(name, getattr(self, name), TargetError, option=name)

    @classmethod
    def of(
        cls, targets: "str | Target | tuple[Target, ...]", graph: Graph, align: int = 1, floor: int = 2
    ) -> "Budget":
        """Of an unpruned model; raises TargetError for latency, which only a device tells."""
        targets = targets if isinstance(targets, tuple) else parse_targets(targets)
        for target in targets:
            if target.kind == LATENCY:
                raise TargetError(
                    f"{target} needs a device's latency table: use edgeprune.latency.device_budget, or "
                    "train-prune with --target-device"
                )
        return cls(targets, {one.kind: cost_of(one.kind, graph) for one in targets}, align, floor)

    @property
    def goals(self) -> dict[str, float]:
        """The most of each kind, so far on the way."""
        return {
            one.kind: whole - (whole - min(whole, one.goal(whole))) * self.way
            for one in self.targets
            for whole in [self.originals[one.kind]]
        }

    def at(self, way: float) -> "Budget":
        """The same, so far on the way."""
        return replace(self, way=way)

    def cost(self, kind: str, graph: Graph, keep: Bools | None = None) -> float:
        """What a (perhaps already pruned) model takes at ``keep``."""
        return cost_of(kind, graph, keep)

    def fraction(self) -> float:
        """What remains of the first target's quantity when it is met."""
        kind = self.targets[0].kind
        return self.goals[kind] / self.originals[kind]

    def pace(self, graph: Graph, scores: NDArray[np.float64]) -> "Budget":  # noqa: ARG002
        """What the learned method's controller follows while channels go one by one: this budget."""
        return self

    def by_widths(self, graph: Graph) -> dict[str, Callable[[Ints], float]]:
        """Each goal's quantity as a function of the groups' widths, for a search that asks often."""
        return {kind: graph.by_widths(kind) for kind in self.goals}

    def steps(self, graph: Graph) -> Ints:
        """For each group, the multiple that its widths are best kept at."""
        return np.array([group.step(self.align) for group in graph.groups], dtype=np.int64)

    def remaining(self, graph: Graph, keep: Bools) -> float:
        """How far ``keep`` is: 1 for all, `fraction` where every target is met.

        With one target, the share of its quantity that remains. With several, the same for the one that has
        come the smallest part of its way, on the scale of the first.
        """
        parts = []
        for kind, goal in self.goals.items():
            whole = self.originals[kind]
            parts.append((whole - self.cost(kind, graph, keep)) / max(whole - goal, 1e-9 * whole))
        return 1 - min(parts) * (1 - self.fraction())

    def select(
        self, graph: Graph, scores: NDArray[np.float64], ratios: Mapping[str, float] | None = None
    ) -> Plan:
        """Drop the lowest-scoring classes until every target is met; see `select`."""
        scores = checked_scores(graph, scores)
        chosen, goals = _Selection(graph, scores, self.align, self.floor, ratios or {}), self.goals
        lowest = chosen.keep_at(len(chosen.order))
        for target in self.targets:
            reached = self.cost(target.kind, graph, lowest)
            if reached > goals[target.kind] * (1 + TOLERANCE):
                raise TargetError(self._out_of_reach(target, reached, graph))

        def fits(keep: Bools) -> bool:
            return all(self.cost(kind, graph, keep) <= goal for kind, goal in goals.items())

        keep = _search(chosen.keep_at, fits, len(chosen.order))
        return Plan.of(graph, chosen.refine(keep, goals))

    def settle(self, graph: Graph, scores: NDArray[np.float64]) -> Plan:
        """The last choice, after which nothing is removed any more."""
        return self.select(graph, scores)

    def _out_of_reach(self, target: Target, reached: float, graph: Graph) -> str:
        aligned = f", multiples of {self.align}" if self.align > 1 else ""
        share = reached / self.originals[target.kind]
        return (
            f"{target} cannot be reached: with at least {self.floor} channels a layer{aligned} and the "
            f"protected ones, {share:.3f} of the {target.kind} is as far as it goes{graph.why_protected}"
        )


@dataclass(frozen=True)
class GivenPlan(Budget):
    """A plan that somebody made, in the place of a choice.

    Attributes:
        plan: as `Plan.to_dict` writes it.
    """

    plan: Mapping[str, Any] = field(default_factory=dict)

    def select(
        self,
        graph: Graph,
        scores: NDArray[np.float64],  # noqa: ARG002
        ratios: Mapping[str, float] | None = None,  # noqa: ARG002
    ) -> Plan:
        """That plan; raises PlanError where it is another model's."""
        return Plan.from_dict(graph, dict(self.plan))


def cost_of(kind: str, graph: Graph, keep: Bools | None = None) -> float:
    """FLOPs, parameters, or bytes of weights and activations, at ``keep``."""
    known_kinds = {"flops": graph.flops, "params": graph.params, "memory": graph.memory}
    return float(known_kinds[kind](keep))


def floors_of(graph: Graph, floor: int, align: int = 1) -> NDArray[np.int64]:
    """Least level of each of the tied groups: ``floor`` channels a layer, aligned, at most all."""
    return np.array([_floor(tied, floor, align) for tied in graph.tied_groups], dtype=int)


def _floor(tied: TiedGroups, floor: int, align: int) -> int:
    step = _step(tied, align)
    return min(tied.size, step * math.ceil(tied.least(floor) / step))


def _step(tied: TiedGroups, align: int) -> int:
    return max(1, min(tied.step([group.step(align) for group in tied.groups]), tied.size))


def select(
    graph: Graph,
    scores: NDArray[np.float64],
    target: str | Target,
    *,
    align: int = 1,
    floor: int = 2,
    ratios: Mapping[str, float] | None = None,
) -> Plan:
    """Drop the lowest-scoring classes until the target is met.

    Args:
        graph: the traced model.
        scores: shape (graph.classes,), higher is more important.
        target: 'flops=0.5', 'params=0.3', 'memory=20MB', several with commas between, or a Target.
        align: widths become multiples of this (whole groups smaller than it stay); what rounding leaves goes
            to the most important channels.
        floor: no layer keeps fewer channels than this.
        ratios: share to keep for single groups, by name; the others share what is left of the budget.

    Raises:
        TargetError: floors, alignment and protected channels do not allow it; says how far it can go.
        PlanError: a score is missing or not a number.
    """
    check_graph(graph)
    return Budget.of(target, graph, align, floor).select(graph, scores, ratios)


def checked_scores(graph: Graph, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores as floats; raises PlanError unless there is a number for each class."""
    scores = as_scores(scores)
    if scores.shape != (graph.classes,):
        raise PlanError(
            f"scores have shape {scores.shape}, this model wants ({graph.classes},): one for each class"
        )
    bad = np.flatnonzero(np.isnan(scores))
    if len(bad):
        group = graph.groups[graph.group_of[bad[0]]]
        raise PlanError(f"the score of a channel of {group.name} is not a number")
    return scores


def as_scores(scores: Any) -> NDArray[np.float64]:
    """Return anything that holds real numbers as float64; raises PlanError otherwise."""
    try:
        array = np.asarray(scores)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"an array of {array.dtype}")
        return array.astype(np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise PlanError(f"scores are real numbers, one for each class ({one_line(error)})") from error


def _search(make: Callable[[int], Bools], fits: Callable[[Bools], bool], count: int) -> Bools:
    """The keep-set of the shortest prefix of drops that fits."""
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

    What is dropped is a level of tied groups: one class, but where pieces of a tensor stay equal one of each.
    """

    def __init__(
        self, graph: Graph, scores: NDArray[np.float64], align: int, floor: int, ratios: Mapping[str, float]
    ) -> None:
        self.graph, self.align = graph, align
        shares = _shares(graph, ratios)
        self.tied = [part for tied in graph.tied_groups for part in _agreeing(tied, shares)]
        self.floors = [_floor(tied, floor, align) for tied in self.tied]
        self.ranked = [np.concatenate(tied.ranked(scores), 1) for tied in self.tied]
        self.scores = [level_scores(scores[levels]) for levels in self.ranked]
        self.fixed = self._fixed(shares)
        free = [i for i in range(len(self.tied)) if i not in self.fixed]
        above = [np.full(len(self.ranked[i]) - self.floors[i], i) for i in free]
        heights = np.concatenate([*(self.scores[i][self.floors[i] :] for i in free), np.zeros(0)])
        self.order = np.concatenate([*above, np.zeros(0, dtype=int)])[np.argsort(heights, kind="stable")]

    def _fixed(self, shares: Mapping[int, float]) -> dict[int, int]:
        """The level of each of the tied groups that have a share of their own."""
        fixed = {}
        for index, tied in enumerate(self.tied):
            for group in tied.groups:
                if group.index in shares:
                    step = _step(tied, self.align)
                    level = step * max(1, round(shares[group.index] * tied.size / step))
                    fixed[index] = int(min(tied.size, max(self.floors[index], level)))
        return fixed

    def keep_at(self, dropped: int) -> Bools:
        """Keep-set after the first ``dropped`` of the order, rounded up to the alignment."""
        keep = np.ones(self.graph.classes, dtype=bool)
        gone = np.bincount(self.order[:dropped], minlength=len(self.tied))
        for index, (tied, ranked) in enumerate(zip(self.tied, self.ranked, strict=True)):
            step = _step(tied, self.align)
            level = min(tied.size, step * math.ceil((tied.size - gone[index]) / step))
            keep[ranked[self.fixed.get(index, level) :]] = False
        return keep

    def refine(self, keep: Bools, goals: Mapping[str, float]) -> Bools:
        """Give back the most important channels, an aligned step at a time, while the budget allows."""
        keep, meter = keep.copy(), self.graph.meter(goals, keep)
        levels = [int(keep[ranked[:, 0]].sum()) for ranked in self.ranked]
        waiting: list[tuple[float, int]] = []

        def queue(index: int) -> None:
            if index not in self.fixed and levels[index] < self.tied[index].size:
                heapq.heappush(waiting, (-self.scores[index][levels[index]], index))

        for index in range(len(self.tied)):
            queue(index)
        while waiting:
            _, index = heapq.heappop(waiting)
            step = self.ranked[index][levels[index] :][: _step(self.tied[index], self.align)]
            costs, kept = meter.after(step.reshape(-1))
            # What does not fit never will: what is added later only costs more.
            if all(round(costs[kind]) <= goal for kind, goal in goals.items()):
                meter.take(kept)
                keep[step] = True
                levels[index] += len(step)
                queue(index)
        return keep


def evened(graph: Graph, keep: Bools, scores: NDArray[np.float64]) -> Bools:
    """Return ``keep`` with the most important of the dropped classes given back where equal pieces are not equal.

    Args:
        graph: the traced model.
        keep: (classes,) what is to stay.
        scores: (classes,), higher is more important; of what is kept all higher than of the rest.
    """
    keep = keep.copy()
    for tied in graph.tied_groups:
        parts = [part for parts in tied.parts for part in parts]
        if len(parts) > 1:
            level = max(-(-int(keep[part].sum()) * tied.size // len(part)) for part in parts)
            keep[np.concatenate(tied.ranked(scores), 1)[:level]] = True
    return keep


def level_scores(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The importance of each level of tied groups, (levels, classes of each): the mean of its classes.

    A level with a class that must stay (infinity) stays; one that may go at once (minus infinity) counts as the least.
    """
    if scores.shape[1] == 1:
        return scores[:, 0]
    least = scores[np.isfinite(scores)].min(initial=0.0)
    return np.asarray(np.where(np.isneginf(scores), least, scores).mean(1))


def _shares(graph: Graph, ratios: Mapping[str, float]) -> dict[int, float]:
    """The share to keep of each group, by index, that ``ratios`` names."""
    names = {g.name: g for g in graph.groups}
    if not isinstance(ratios, Mapping):
        raise TargetError(f"ratios are wanted by group, as in {{'layer1': 0.5}}, not {kind_of(ratios)}")
    shares = {}
    for name, ratio in ratios.items():
        check_quantity("lowest", ratio, TargetError, option=f"the ratio of {name}")
        if name not in names:
            raise PlanError(known("layer", name, list(names)))
        if not 0 < ratio <= 1:
            raise PlanError(f"the ratio of {name} is {ratio}, outside (0, 1]: it is the share that stays")
        shares[names[name].index] = ratio
    return shares


def _agreeing(tied: TiedGroups, shares: Mapping[int, float]) -> list[TiedGroups]:
    """Return tied groups, or each group alone where they are asked for different shares."""
    asked = {shares[index] for index in tied.indices if index in shares}
    return [tied] if len(asked) < 2 else [TiedGroups((g,), ((g.classes,),)) for g in tied.groups]
