"""A device's solver: time as its latency table says, and at the end as the device itself says."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeprune import resources
from edgeprune.budget import Budget, Solver, Target, need_device
from edgeprune.errors import TargetError
from edgeprune.graph.classes import Bools, Graph, Ints
from edgeprune.graph.plan import Plan
from edgeprune.latency.calibrate import Attempt, Measured, calibrate_to_target
from edgeprune.latency.knapsack import KnapsackSolver, PerFlop
from edgeprune.latency.predict import LatencyModel, MsByWidths
from edgeprune.latency.shapes import Model
from edgeprune.latency.table import ASSUMED_ON, Table
from edgeprune.resources.latency import LATENCY, Latency

Floats = NDArray[np.float64]
Measure = Callable[[Graph, Plan], Measured]

# FLOPs that go should take their time with them: a speedup is to be this share of the FLOPs ratio at least.
EFFICIENCY = 0.97
# Of that, where the device does not give it; then any.
RELAXED = (1.0, 0.98, 0.96, 0.93, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5)
PER_FLOP = "time for each FLOP"
SLOWER = 0.995  # of the baseline's time, by the table: a plan must be faster than that


@dataclass
class LatencyEstimator:
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


class LatencyOn(Latency):
    """Milliseconds on one device, by its table.

    Args:
        pricing: what any plan takes by the table.
    """

    def __init__(self, pricing: LatencyEstimator) -> None:
        self.pricing = pricing

    def cost(self, graph: Graph, keep: Bools | None = None) -> float:
        """Return the ms of what (classes,) ``keep`` leave."""
        return self.pricing.on(graph).ms(keep)

    def by_widths(self, graph: Graph) -> MsByWidths:
        """Return the ms as a function of the groups' widths."""
        return self.pricing.on(graph).by_widths()

    def steps(self, graph: Graph) -> Ints:
        """Return the device's own steps."""
        return self.pricing.on(graph).steps()


def budget_on(
    targets: tuple[Target, ...],
    pricing: LatencyEstimator,
    *,
    measure: Measure | None = None,
    align: int = 1,
    floor: int = 2,
    tell: Callable[[str], None] = lambda text: None,  # noqa: ARG005
) -> Budget:
    """Return the budget of an unpruned model, whose widths are the device's.

    Args:
        targets: as they were asked for; without one of latency, FLOPs that go are to take their time with them.
        pricing: what a plan takes by the table.
        measure: exports and measures a plan beside the baseline; None: the table is believed.
        align: widths become multiples of this, and of the device's own steps.
        floor: no group keeps fewer channels.
        tell: where to say what is being done.

    Raises:
        TargetError: the model is within the time already.
    """
    graph, bound = pricing.original, {LATENCY: LatencyOn(pricing)}
    unpruned_ms = bound[LATENCY].cost(graph)
    for target in targets:
        if target.kind == LATENCY and target.goal(unpruned_ms) > unpruned_ms:
            why = f"the unpruned model takes {unpruned_ms:.3g} ms already"
            raise TargetError(f"{target}: {why}; nothing to prune")
    kinds = {"flops", *(target.kind for target in targets)} - {LATENCY}
    originals = {LATENCY: unpruned_ms, **{kind: resources.get(kind).cost(graph) for kind in kinds}}
    solver = (TimeSolver if need_device(targets) else EfficiencySolver)(pricing, measure, [], tell)
    return Budget(targets, originals, align, floor, bound=bound, solver=solver)


@dataclass(frozen=True)
class TimeSolver(Solver):
    """A knapsack over the device's steps, in which whole blocks may go; the last choice is measured.

    Attributes:
        pricing: what a plan takes by the table.
        measure: exports and measures a plan beside the baseline; None: the table is believed.
        attempts: what the last settling tried, for a report.
        tell: where to say what is being done.
    """

    pricing: LatencyEstimator
    measure: Measure | None = None
    attempts: list[dict[str, Any]] = field(default_factory=list)
    tell: Callable[[str], None] = lambda text: None  # noqa: ARG005
    exact: ClassVar[bool] = True  # a plan that is faster than asked is made slower, and more important

    def select(self, budget: Budget, graph: Graph, scores: Floats, ratios: Mapping[str, float]) -> Plan:  # noqa: ARG002
        """Choose the most important channels that the goals leave room for, by the table.

        Raises:
            TargetError: floors, steps and protected channels do not allow it, or nothing can be gained.
        """
        return self._chosen(budget, graph, scores, self._wanted(budget))

    def tracking_budget(self, budget: Budget, graph: Graph, scores: Floats) -> Budget:
        """Return, for a time, the FLOPs of the plan that takes it by the table.

        Time is a staircase, and hardly falls while channels go one by one: a width between two steps takes
        the next one's time or more, and no channel's going removes a block. A controller that followed the
        time itself turned 98 % of a ResNet-20's FLOPs off on its way to half of the time, and ruined its
        weights.

        Raises:
            TargetError: as `select`.
        """
        if not need_device(budget.targets):
            return budget
        share = budget.share("flops", graph, budget.select(graph, scores).keep)
        return Budget.of(Target("flops", share), graph)

    def _wanted(self, budget: Budget) -> float:
        """The share of the unpruned model's time that is asked for."""
        return budget.goals[LATENCY] / budget.originals[LATENCY]

    def _chosen(self, budget: Budget, graph: Graph, scores: Floats, asked: float) -> Plan:
        """Within the goals, and that share of the time by the table."""
        goals = {**budget.goals, LATENCY: asked * budget.originals[LATENCY]}
        return self._knapsack(budget, graph, scores, goals)

    def _predicted(self, budget: Budget, graph: Graph, plan: Plan) -> float:
        """What a plan has, by the table, of what `_wanted` asks."""
        return budget.share(LATENCY, graph, plan.keep)

    def _ratio(self, budget: Budget, graph: Graph, plan: Plan, measured: Measured) -> float:  # noqa: ARG002
        """The time that was measured over the time that was asked for."""
        time = next(target for target in budget.targets if target.kind == LATENCY)
        wanted = self._wanted(budget)
        return measured.pruned_ms / time.amount if time.amount is not None else measured.share / wanted

    def _knapsack(
        self,
        budget: Budget,
        graph: Graph,
        scores: Floats,
        goals: dict[str, float],
        spend: tuple[str, ...] = (),
    ) -> Plan:
        plain = {kind: goal for kind, goal in goals.items() if kind != PER_FLOP}
        if all(budget.cost(kind, graph) <= goal for kind, goal in plain.items()):
            return Plan.everything(graph)
        costs: dict[str, Any] = {kind: budget.resource(kind).by_widths(graph) for kind in plain}
        if PER_FLOP in goals:
            originals = budget.originals[LATENCY], budget.originals["flops"]
            costs[PER_FLOP] = PerFlop(costs[LATENCY], graph.by_widths("flops"), *originals)
        # A knapsack adds importance up: nothing may count against being kept, or beyond all measure.
        finite = np.nan_to_num(scores, posinf=np.abs(scores[np.isfinite(scores)]).sum() + 1)
        scores = finite - min(0.0, float(finite.min(initial=0.0)))
        steps = budget.steps(graph)
        return KnapsackSolver(
            graph, scores, costs, goals, steps=steps, floor=budget.floor, spend=spend
        ).plan()

    def finalize(self, budget: Budget, graph: Graph, scores: Floats) -> Plan:
        """Choose for the last time: measured whole on the device, and corrected, until it meets its time.

        Raises:
            TargetError: as `select`; or what was measured is no faster than the baseline.
        """
        if self.measure is None:
            plan = self.select(budget, graph, scores, {})
            return replace(plan, notes=(*plan.notes, *self.remarks()))
        measure = self.measure

        def choose(asked: float) -> tuple[Plan, float]:
            plan = self._chosen(budget, graph, scores, asked)
            return plan, self._predicted(budget, graph, plan)

        def check(plan: Plan) -> Measured:
            self.tell("measuring the pruned model whole")
            return measure(graph, plan)

        def ratio(plan: Plan, measured: Measured) -> float:
            return self._ratio(budget, graph, plan, measured)

        best, attempts = calibrate_to_target(self._wanted(budget), choose, check, ratio, exact=self.exact)
        if best.measured.share > 1:  # fast for its FLOPs, and slower all the same
            best = min(attempts, key=lambda attempt: attempt.measured.share)
        self.attempts[:] = [_told(budget, graph, attempt, attempt is best) for attempt in attempts]
        if best.measured.share > 1 and not best.plan.keep.all():
            raise TargetError(
                f"nothing is gained on this device: of {len(attempts)} plans the fastest is "
                f"{best.measured.speedup[0]:.3f} times as fast as the unpruned model"
            )
        note = self._note(budget, best, budget.share(LATENCY, graph, best.plan.keep))
        return replace(best.plan, notes=(*best.plan.notes, note, *self.remarks()))

    def remarks(self) -> list[str]:
        """Return what a reader of any of these times should know."""
        conditions = self.pricing.table.conditions
        machine = conditions.get(ASSUMED_ON)
        if machine is None:
            return []
        return [
            f"the {conditions['device']} that was asked for was assumed (--assume-device): all times are of "
            f"{machine}"
        ]

    def record(self, budget: Budget) -> dict[str, Any] | None:
        """Return what the settling tried and measured, and under which conditions."""
        if not self.attempts:
            return None
        return {
            "schema": 1,
            "targets": [str(target) for target in budget.targets],
            "conditions": self.pricing.table.conditions,
            "baseline_ms_by_table": budget.originals[LATENCY],
            "attempts": self.attempts,
        }

    def _note(self, budget: Budget, best: Attempt, predicted: float) -> str:
        """What was measured against what was asked, in words."""
        one, (low, high) = best.measured, best.measured.speedup[1:]
        by = "" if one.percentile == 50 else f", by {one.percentile}th percentiles"
        found = (
            f"measured whole{by}: {one.pruned_ms:.4g} ms of {one.baseline_ms:.4g} ms, {one.speedup[0]:.3f} "
            f"times as fast ({low:.3f} to {high:.3f}); the table said {1 / predicted:.3f}"
        )
        return found if best.met else f"{found}; {self._missed(budget, best)}"

    def _missed(self, budget: Budget, best: Attempt) -> str:
        """Why a target of time was not met."""
        slow = "none of the plans that were tried is faster"
        why = "the device's steps leave no plan nearer" if best.ratio < 1 else slow
        targets = ", ".join(map(str, budget.targets))
        return f"{targets} was missed by {100 * abs(best.ratio - 1):.1f} %: {why}"


@dataclass(frozen=True)
class EfficiencySolver(TimeSolver):
    """The same where nobody asked a time: FLOPs that go are to take theirs with them.

    What is wished for is the share of the time for each share of the FLOPs, at most 1 / `EFFICIENCY`.
    """

    exact: ClassVar[bool] = False

    def _wanted(self, budget: Budget) -> float:  # noqa: ARG002
        return 1 / EFFICIENCY

    def _chosen(self, budget: Budget, graph: Graph, scores: Floats, asked: float) -> Plan:
        """Within the goals, and as near to that as the device gives; faster than the baseline in any case."""
        goals = {**budget.goals, LATENCY: SLOWER * budget.originals[LATENCY]}
        try:
            best = self._knapsack(budget, graph, scores, goals)
        except TargetError as error:
            raise TargetError(f"nothing can be gained on this device: {error}") from None
        # The steps of a small network may leave nothing that is fast and as large as it may be.
        for spend in (tuple(budget.goals), ()):
            for share in RELAXED:
                with suppress(TargetError):
                    return self._knapsack(budget, graph, scores, {**goals, PER_FLOP: asked / share}, spend)
        return best

    def _predicted(self, budget: Budget, graph: Graph, plan: Plan) -> float:
        return budget.share(LATENCY, graph, plan.keep) / budget.share("flops", graph, plan.keep)

    def _ratio(self, budget: Budget, graph: Graph, plan: Plan, measured: Measured) -> float:
        return measured.share / budget.share("flops", graph, plan.keep) / self._wanted(budget)

    def _missed(self, budget: Budget, best: Attempt) -> str:  # noqa: ARG002
        gain = EFFICIENCY / best.ratio
        return f"of the FLOPs ratio, the speedup is {gain:.2f}: this device gives no more for these targets"


def _told(budget: Budget, graph: Graph, attempt: Attempt, chosen: bool) -> dict[str, Any]:
    """An attempt for the record."""
    time, flops = (budget.share(kind, graph, attempt.plan.keep) for kind in (LATENCY, "flops"))
    return {
        **attempt.to_dict(),
        "predicted_fraction": time,
        "table_error": time / attempt.measured.share - 1,
        "flops_fraction": flops,
        "chosen": chosen,
    }
