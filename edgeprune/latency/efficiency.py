"""Solve a device's budget that has no target of the device itself: fewer FLOPs must take less time."""

from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

from edgeprune.budget import Budget
from edgeprune.errors import TargetError
from edgeprune.graph.classes import Graph
from edgeprune.graph.plan import Plan
from edgeprune.latency.calibrate import Attempt, Interval, Measured
from edgeprune.latency.device import PER_FLOP, Floats, TimeSolver
from edgeprune.resources.latency import LATENCY

# Fewer FLOPs should mean less time: the speedup must be at least this fraction of the FLOPs ratio.
EFFICIENCY = 0.97
# Fractions of that to try where the device does not reach it; then any.
RELAXED = (1.0, 0.98, 0.96, 0.93, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5)
SLOWER = 0.995  # of the baseline's time, by the table: a plan must be faster than that


@dataclass(frozen=True)
class EfficiencySolver(TimeSolver):
    """Solves budgets without a latency target: the speedup must keep up with the FLOPs ratio.

    The target is the fraction of the time over the fraction of the FLOPs, at most 1 / `EFFICIENCY`.
    """

    exact: ClassVar[bool] = False

    def _target_share(self, budget: Budget) -> float:  # noqa: ARG002
        return 1 / EFFICIENCY

    def _chosen(self, budget: Budget, graph: Graph, scores: Floats, target: float) -> Plan:
        """Select within the goals, as near to the target as possible; always faster than the baseline."""
        goals = {**budget.goals, LATENCY: SLOWER * budget.originals[LATENCY]}
        try:
            best = self._knapsack(budget, graph, scores, goals)
        except TargetError as error:
            raise TargetError(f"nothing can be gained on this device: {error}") from None
        # In a small network, no plan may be both fast and close to the FLOPs goal.
        for spend in (tuple(budget.goals), ()):
            for share in RELAXED:
                with suppress(TargetError):
                    return self._knapsack(budget, graph, scores, {**goals, PER_FLOP: target / share}, spend)
        return best

    def _predicted(self, budget: Budget, graph: Graph, plan: Plan) -> float:
        return budget.share(LATENCY, graph, plan.keep) / budget.share("flops", graph, plan.keep)

    def _ratio(self, budget: Budget, graph: Graph, plan: Plan, measured: Measured) -> float:
        return measured.share / budget.share("flops", graph, plan.keep) / self._target_share(budget)

    def _interval(self, budget: Budget, measured: Measured) -> Interval:  # noqa: ARG002
        return measured.speedup

    def _saved_least(self, budget: Budget, measured: Measured) -> float:  # noqa: ARG002
        return measured.share

    def _missed(self, budget: Budget, best: Attempt, *, over: bool) -> str:  # noqa: ARG002
        gain = EFFICIENCY / best.ratio
        return f"of the FLOPs ratio, the speedup is {gain:.2f}: this device gives no more for these targets"
