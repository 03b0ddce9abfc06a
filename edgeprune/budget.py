"""Budgets: class scores in, keep-plan out, at a share of the FLOPs or parameters."""

import heapq
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeprune.errors import PlanError, TargetError, known
from edgeprune.graph.classes import Bools, ChannelGroup, Graph
from edgeprune.plan import Plan

KINDS = ("flops", "params")
TOLERANCE = 0.01  # a target counts as met within this share of itself


@dataclass(frozen=True)
class Target:
    """What must remain, as a fraction of the unpruned model: ``flops=0.5`` keeps half of the FLOPs."""

    kind: str
    fraction: float

    @classmethod
    def parse(cls, text: "str | Target") -> "Target":
        """Read 'flops=0.5' or 'params=0.3'; raises TargetError for anything else."""
        if isinstance(text, Target):
            return text
        kind, sign, number = str(text).partition("=")
        if not sign:
            raise TargetError(f"target {text!r} is not KIND=FRACTION; write for example flops=0.5")
        if kind.strip() not in KINDS:
            raise TargetError(known("target", kind.strip(), list(KINDS)))
        try:
            fraction = float(number)
        except ValueError as error:
            hint = "write for example flops=0.5"
            raise TargetError(f"target {text!r}: {number!r} is not a number; {hint}") from error
        if not 0 < fraction <= 1:
            raise TargetError(
                f"target {text!r} is outside (0, 1]: it is the fraction that remains; flops=0.5 keeps half"
            )
        return cls(kind.strip(), fraction)

    def __str__(self) -> str:
        return f"{self.kind}={self.fraction:g}"

    def cost(self, graph: Graph, keep: Bools | None = None) -> int:
        """FLOPs or parameters at ``keep``."""
        return graph.flops(keep) if self.kind == "flops" else graph.params(keep)

    def share(self, graph: Graph, keep: Bools) -> float:
        """What remains at ``keep``, as a fraction of the whole."""
        return self.cost(graph, keep) / self.cost(graph)


def floors_of(graph: Graph, floor: int, align: int = 1) -> NDArray[np.int64]:
    """Least number of classes to keep in each group: ``floor``, rounded up to the alignment, at most all."""
    steps = [_step(group, align) for group in graph.groups]
    rounded = [step * math.ceil(max(floor, 1) / step) for step in steps]
    return np.array([min(g.size, r) for g, r in zip(graph.groups, rounded, strict=True)], dtype=int)


def _step(group: ChannelGroup, align: int) -> int:
    return max(1, min(align, group.size))


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
        target: 'flops=0.5', 'params=0.3' or a Target.
        align: widths become multiples of this (whole groups smaller than it stay); what rounding leaves goes
            to the most important channels.
        floor: no group keeps fewer classes than this.
        ratios: share to keep for single groups, by name; the others share what is left of the budget.

    Raises:
        TargetError: floors, alignment and protected channels do not allow it; says how far it can go.
        PlanError: a score is missing or not a number.
    """
    target = Target.parse(target)
    scores = _checked_scores(graph, scores)
    budget = _Selection(graph, scores, align, floor, ratios or {})
    goal = target.fraction * target.cost(graph)
    lowest = budget.keep_at(len(budget.order))
    if target.cost(graph, lowest) > goal * (1 + TOLERANCE):
        raise TargetError(
            f"{target} cannot be reached: with at least {floor} channels a layer"
            f"{f', multiples of {align}' if align > 1 else ''} and the protected ones, "
            f"{target.share(graph, lowest):.3f} of the {target.kind} is as far as it goes"
        )
    keep = _search(budget.keep_at, lambda k: target.cost(graph, k) <= goal, len(budget.order))
    keep = budget.refine(keep, target.kind, goal)
    return Plan.of(graph, keep)


def _checked_scores(graph: Graph, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    scores = np.asarray(scores, dtype=np.float64)
    if scores.shape != (graph.classes,):
        raise PlanError(
            f"scores have shape {scores.shape}, this model wants ({graph.classes},): one for each class"
        )
    bad = np.flatnonzero(np.isnan(scores))
    if len(bad):
        group = graph.groups[graph.group_of[bad[0]]]
        raise PlanError(f"the score of a channel of {group.name} is not a number")
    return scores


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
    """Keep-sets along one order of drops, with floors, alignment and fixed ratios."""

    def __init__(
        self, graph: Graph, scores: NDArray[np.float64], align: int, floor: int, ratios: Mapping[str, float]
    ) -> None:
        self.graph, self.scores, self.align = graph, scores, align
        self.floors = floors_of(graph, floor, align)
        self.ranked = [g.classes[np.argsort(-scores[g.classes], kind="stable")] for g in graph.groups]
        self.fixed = self._fixed(ratios)
        above = [ranked[floor:] for ranked, floor in zip(self.ranked, self.floors, strict=True)]
        free = [classes for index, classes in enumerate(above) if index not in self.fixed]
        candidates = np.concatenate([*free, np.zeros(0, dtype=int)])
        self.order = candidates[np.argsort(scores[candidates], kind="stable")]

    def _fixed(self, ratios: Mapping[str, float]) -> dict[int, int]:
        names = {g.name: g for g in self.graph.groups}
        fixed = {}
        for name, ratio in ratios.items():
            if name not in names:
                raise PlanError(known("layer", name, list(names)))
            if not 0 < ratio <= 1:
                raise PlanError(f"the ratio of {name} is {ratio}, outside (0, 1]: it is the share that stays")
            group = names[name]
            step = _step(group, self.align)
            count = step * max(1, round(ratio * group.size / step))
            fixed[group.index] = int(min(group.size, max(self.floors[group.index], count)))
        return fixed

    def keep_at(self, dropped: int) -> Bools:
        """Keep-set after the first ``dropped`` of the order, rounded up to the alignment."""
        keep = np.ones(self.graph.classes, dtype=bool)
        keep[self.order[:dropped]] = False
        for group, ranked in zip(self.graph.groups, self.ranked, strict=True):
            count = self.fixed.get(group.index, int(keep[group.classes].sum()))
            if group.index not in self.fixed:
                step = _step(group, self.align)
                count = min(group.size, step * math.ceil(count / step))
            keep[ranked[:count]], keep[ranked[count:]] = True, False
        return keep

    def refine(self, keep: Bools, kind: str, goal: float) -> Bools:
        """Give back the most important channels, an aligned step at a time, while the budget allows."""
        keep, meter = keep.copy(), self.graph.meter(kind, keep)
        counts = [int(keep[group.classes].sum()) for group in self.graph.groups]
        waiting: list[tuple[float, int]] = []

        def queue(index: int) -> None:
            ranked = self.ranked[index]
            if index not in self.fixed and counts[index] < len(ranked):
                heapq.heappush(waiting, (-self.scores[ranked[counts[index]]], index))

        for group in self.graph.groups:
            queue(group.index)
        while waiting:
            _, index = heapq.heappop(waiting)
            step = self.ranked[index][counts[index] :][: _step(self.graph.groups[index], self.align)]
            cost, kept = meter.after(step)
            if cost <= goal:  # else nothing more for this group: what is added later only costs more
                meter.take(kept)
                keep[step] = True
                counts[index] += len(step)
                queue(index)
        return keep
