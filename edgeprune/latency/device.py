"""A budget on a device: time as its latency table says, and at the end as the device itself says."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeprune.budget import LATENCY, Budget, Target, asks_time, checked_scores, cost_of
from edgeprune.errors import TargetError
from edgeprune.graph.classes import Bools, Graph, Ints
from edgeprune.latency.choose import Chooser, Cost, PerFlop
from edgeprune.latency.meet import Attempt, Measured, meet
from edgeprune.latency.predict import LatencyModel
from edgeprune.latency.shapes import Model
from edgeprune.latency.table import ASSUMED_ON, Table
from edgeprune.plan import Plan

Measure = Callable[[Graph, Plan], Measured]

# FLOPs that go should take their time with them: a speedup is to be this share of the FLOPs ratio at least.
EFFICIENCY = 0.97
# Of that, where the device does not give it; then any.
RELAXED = (1.0, 0.98, 0.96, 0.93, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5)
PER_FLOP = "time for each FLOP"
SLOWER = 0.995  # of the baseline's time, by the table: a plan must be faster than that


@dataclass
class Pricing:
    """What any model that was cut from one original takes by a table.

    Args:
        original: graph of the unpruned model.
        model: the layers of its ONNX file.
        table: of the device.
    """

    original: Graph
    model: Model
    table: Table
    _last: tuple[Graph, LatencyModel] | None = None

    def on(self, graph: Graph) -> LatencyModel:
        """Of the original, or of what is left of it."""
        if self._last is None or self._last[0] is not graph:
            there = {name for name, _ in graph.model.named_parameters()}
            names = {name for name, _ in self.original.module.named_parameters()} - there
            gone = {name.removesuffix(".weight") for name in names if name.endswith(".weight")}
            self._last = graph, LatencyModel(graph, self.model.without(gone), self.table)
        return self._last[1]


@dataclass(frozen=True)
class DeviceBudget(Budget):
    """A budget whose widths are the device's: chosen as a knapsack over its steps; whole blocks may go.

    Attributes:
        pricing: what a plan takes by the table.
        measure: exports and measures a plan beside the baseline; None: the table is believed.
        attempts: what the last settling tried, for a report.
        tell: where to say what is being done.
    """

    pricing: Pricing | None = None
    measure: Measure | None = None
    attempts: list[dict[str, Any]] = field(default_factory=list)
    tell: Callable[[str], None] = lambda text: None  # noqa: ARG005
    exact: ClassVar[bool] = True  # a plan that is faster than asked is made slower, and more important

    @classmethod
    def on(
        cls,
        targets: tuple[Target, ...],
        pricing: Pricing,
        *,
        measure: Measure | None = None,
        align: int = 1,
        floor: int = 2,
        tell: Callable[[str], None] = lambda text: None,  # noqa: ARG005
    ) -> "DeviceBudget":
        """Of an unpruned model, the table's.

        Raises:
            TargetError: the model is within the time already.
        """
        graph = pricing.original
        whole = pricing.on(graph).ms()
        for target in targets:
            if target.kind == LATENCY and target.goal(whole) > whole:
                why = f"the unpruned model takes {whole:.3g} ms already"
                raise TargetError(f"{target}: {why}; nothing to prune")
        kinds = {"flops", *(target.kind for target in targets)} - {LATENCY}
        originals = {LATENCY: whole, **{kind: cost_of(kind, graph) for kind in kinds}}
        made = cls if asks_time(targets) else EfficientBudget
        return made(targets, originals, align, floor, 1.0, pricing, measure, [], tell)

    def cost(self, kind: str, graph: Graph, keep: Bools | None = None) -> float:
        """What a model takes at ``keep``; its time in ms by the table."""
        if kind != LATENCY:
            return cost_of(kind, graph, keep)
        return self._pricing.on(graph).ms(keep)

    def by_widths(self, graph: Graph) -> dict[str, Callable[[Ints], float]]:
        """As a plain budget's; time is the table's."""
        time = self._pricing.on(graph).by_widths()
        return {kind: time if kind == LATENCY else graph.by_widths(kind) for kind in self.goals}

    def steps(self, graph: Graph) -> Ints:
        """The device's own, and the alignment."""
        return np.lcm(self._pricing.on(graph).steps(), super().steps(graph))

    @property
    def _pricing(self) -> Pricing:
        assert self.pricing is not None  # the base's fields have defaults, so this must have one
        return self.pricing

    def select(
        self, graph: Graph, scores: NDArray[np.float64], ratios: Mapping[str, float] | None = None
    ) -> Plan:
        """The most important channels that the goals leave room for, by the table.

        Raises:
            TargetError: floors, steps and protected channels do not allow it, or nothing can be gained.
        """
        if ratios:
            raise TargetError("ratios of single layers and a device's budget exclude each other")
        return self._chosen(graph, checked_scores(graph, scores), self._wanted)

    def pace(self, graph: Graph, scores: NDArray[np.float64]) -> Budget:
        """For a time, the FLOPs of the plan that takes it by the table.

        Time is a staircase, and hardly falls while channels go one by one: a width between two steps takes
        the next one's time or more, and no channel's going removes a block. A controller that followed the
        time itself turned 98 % of a ResNet-20's FLOPs off on its way to half of the time, and ruined its
        weights.

        Raises:
            TargetError: as `select`.
        """
        if not asks_time(self.targets):
            return self
        share = self._share("flops", graph, self.select(graph, scores))
        return Budget.of(Target("flops", share), graph)

    @property
    def _wanted(self) -> float:
        """The share of the unpruned model's time that is asked for."""
        return self.goals[LATENCY] / self.originals[LATENCY]

    def _chosen(self, graph: Graph, scores: NDArray[np.float64], asked: float) -> Plan:
        """Within the goals, and that share of the time by the table."""
        return self._knapsack(graph, scores, {**self.goals, LATENCY: asked * self.originals[LATENCY]})

    def _share(self, kind: str, graph: Graph, plan: Plan) -> float:
        return self.cost(kind, graph, plan.keep) / self.originals[kind]

    def _predicted(self, graph: Graph, plan: Plan) -> float:
        """What a plan has, by the table, of what `_wanted` asks."""
        return self._share(LATENCY, graph, plan)

    def _ratio(self, graph: Graph, plan: Plan, measured: Measured) -> float:  # noqa: ARG002
        """The time that was measured over the time that was asked for."""
        time = next(target for target in self.targets if target.kind == LATENCY)
        return measured.pruned_ms / time.amount if time.amount is not None else measured.share / self._wanted

    def _knapsack(
        self,
        graph: Graph,
        scores: NDArray[np.float64],
        goals: dict[str, float],
        spend: tuple[str, ...] = (),
    ) -> Plan:
        plain = {kind: goal for kind, goal in goals.items() if kind != PER_FLOP}
        if all(self.cost(kind, graph) <= goal for kind, goal in plain.items()):
            return Plan.everything(graph)
        time = self._pricing.on(graph).by_widths()
        costs: dict[str, Cost] = {
            kind: time if kind == LATENCY else graph.by_widths(kind) for kind in goals if kind != PER_FLOP
        }
        if PER_FLOP in goals:
            whole = self.originals[LATENCY], self.originals["flops"]
            costs[PER_FLOP] = PerFlop(time, graph.by_widths("flops"), *whole)
        # A knapsack adds importance up: nothing may count against being kept, or beyond all measure.
        finite = np.nan_to_num(scores, posinf=np.abs(scores[np.isfinite(scores)]).sum() + 1)
        scores = finite - min(0.0, float(finite.min(initial=0.0)))
        steps = self.steps(graph)
        return Chooser(graph, scores, costs, goals, steps=steps, floor=self.floor, spend=spend).plan()

    def settle(self, graph: Graph, scores: NDArray[np.float64]) -> Plan:
        """The last choice: measured whole on the device, and corrected, until it meets its time.

        Raises:
            TargetError: as `select`; or what was measured is no faster than the baseline.
        """
        scores = checked_scores(graph, scores)
        if self.measure is None:
            plan = self.select(graph, scores)
            return replace(plan, notes=(*plan.notes, *self.remarks()))
        measure = self.measure

        def choose(asked: float) -> tuple[Plan, float]:
            plan = self._chosen(graph, scores, asked)
            return plan, self._predicted(graph, plan)

        def check(plan: Plan) -> Measured:
            self.tell("measuring the pruned model whole")
            return measure(graph, plan)

        def ratio(plan: Plan, measured: Measured) -> float:
            return self._ratio(graph, plan, measured)

        best, attempts = meet(self._wanted, choose, check, ratio, exact=self.exact)
        if best.measured.share > 1:  # fast for its FLOPs, and slower all the same
            best = min(attempts, key=lambda one: one.measured.share)
        self.attempts[:] = [self._told(graph, one, one is best) for one in attempts]
        if best.measured.share > 1 and not best.plan.keep.all():
            raise TargetError(
                f"nothing is gained on this device: of {len(attempts)} plans the fastest is "
                f"{best.measured.speedup[0]:.3f} times as fast as the unpruned model"
            )
        note = self._note(best, self._share(LATENCY, graph, best.plan))
        return replace(best.plan, notes=(*best.plan.notes, note, *self.remarks()))

    def remarks(self) -> list[str]:
        """Return what a reader of any of this budget's times should know."""
        conditions = self._pricing.table.conditions
        machine = conditions.get(ASSUMED_ON)
        if machine is None:
            return []
        return [
            f"the {conditions['device']} that was asked for was assumed (--assume-device): all times are of "
            f"{machine}"
        ]

    def record(self) -> dict[str, Any]:
        """What the settling tried and measured, and under which conditions; for the run folder."""
        return {
            "schema": 1,
            "targets": [str(target) for target in self.targets],
            "conditions": self._pricing.table.conditions,
            "baseline_ms_by_table": self.originals[LATENCY],
            "attempts": self.attempts,
        }

    def _told(self, graph: Graph, one: Attempt, chosen: bool) -> dict[str, Any]:
        """An attempt for the record."""
        time, flops = (self._share(kind, graph, one.plan) for kind in (LATENCY, "flops"))
        return {
            **one.to_dict(),
            "predicted_fraction": time,
            "table_error": time / one.measured.share - 1,
            "flops_fraction": flops,
            "chosen": chosen,
        }

    def _note(self, best: Attempt, predicted: float) -> str:
        """What was measured against what was asked, in words."""
        one, (low, high) = best.measured, best.measured.speedup[1:]
        by = "" if one.percentile == 50 else f", by {one.percentile}th percentiles"
        found = (
            f"measured whole{by}: {one.pruned_ms:.4g} ms of {one.baseline_ms:.4g} ms, {one.speedup[0]:.3f} "
            f"times as fast ({low:.3f} to {high:.3f}); the table said {1 / predicted:.3f}"
        )
        return found if best.met else f"{found}; {self._missed(best)}"

    def _missed(self, best: Attempt) -> str:
        """Why a target of time was not met."""
        slow = "none of the plans that were tried is faster"
        why = "the device's steps leave no plan nearer" if best.ratio < 1 else slow
        asked = ", ".join(map(str, self.targets))
        return f"{asked} was missed by {100 * abs(best.ratio - 1):.1f} %: {why}"


@dataclass(frozen=True)
class EfficientBudget(DeviceBudget):
    """A device's budget of which nobody asked a time: FLOPs that go are to take theirs with them.

    What is wished for is the share of the time for each share of the FLOPs, at most 1 / `EFFICIENCY`.
    """

    exact: ClassVar[bool] = False

    @property
    def _wanted(self) -> float:
        return 1 / EFFICIENCY

    def _chosen(self, graph: Graph, scores: NDArray[np.float64], asked: float) -> Plan:
        """Within the goals, and as near to that as the device gives; faster than the baseline in any case."""
        goals = {**self.goals, LATENCY: SLOWER * self.originals[LATENCY]}
        try:
            best = self._knapsack(graph, scores, goals)
        except TargetError as error:
            raise TargetError(f"nothing can be gained on this device: {error}") from None
        # The steps of a small network may leave nothing that is fast and as large as it may be.
        for spend in (tuple(self.goals), ()):
            for share in RELAXED:
                with suppress(TargetError):
                    return self._knapsack(graph, scores, {**goals, PER_FLOP: asked / share}, spend)
        return best

    def _predicted(self, graph: Graph, plan: Plan) -> float:
        return self._share(LATENCY, graph, plan) / self._share("flops", graph, plan)

    def _ratio(self, graph: Graph, plan: Plan, measured: Measured) -> float:
        return measured.share / self._share("flops", graph, plan) / self._wanted

    def _missed(self, best: Attempt) -> str:
        gain = EFFICIENCY / best.ratio
        return f"of the FLOPs ratio, the speedup is {gain:.2f}: this device gives no more for these targets"
