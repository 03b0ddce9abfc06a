"""Solve budgets on a device: latency and energy from tables while selecting, and as measured for the final plan."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeprune.budget import Budget, Solver, Target, need_device
from edgeprune.errors import TargetError
from edgeprune.graph.classes import Graph
from edgeprune.graph.plan import Plan
from edgeprune.latency.calibrate import Attempt, Interval, Measured
from edgeprune.latency.device_goals import DeviceGoals, energy_note, energy_record
from edgeprune.latency.end_to_end import Look
from edgeprune.latency.estimator import LatencyEstimator
from edgeprune.latency.knapsack import KnapsackSolver
from edgeprune.latency.planning import Calibration, PlanningClock, WatchedCost
from edgeprune.latency.table import ASSUMED_ON
from edgeprune.latency.width_costs import PerFlop
from edgeprune.resources import ENERGY, LATENCY

Floats = NDArray[np.float64]
Blocks = list[tuple[int, ...]]


class Measure(Protocol):
    """Exports and measures a plan beside the baseline."""

    def __call__(self, graph: Graph, plan: Plan, look: Look | None = None) -> Measured:
        """Return the latencies of a plan.

        Args:
            graph: of the baseline.
            plan: for it.
            look: how closely; None for as closely as it takes.
        """
        ...


class Load(Protocol):
    """What keeps a device under load before plans are measured."""

    def remarks(self) -> list[str]:
        """Return what a reader of the latencies should know."""
        ...

    def record(self) -> dict[str, Any] | None:
        """Return the state that the device reached, for the run folder; None before it was put under load."""
        ...


PER_FLOP = "time for each FLOP"


@dataclass(frozen=True)
class TimeSolver(Solver):
    """Solves a knapsack over the device's steps, in which blocks can be removed; measures the final plan.

    Attributes:
        estimator: predicts the latency of a plan from the table.
        measure: exports and measures a plan beside the baseline; None relies on the table.
        attempts: of the last `finalize`, for a report.
        clock: bounds the time of `finalize`, and reports it.
        blocks: whether blocks may be removed completely.
        load: what keeps the device in its steady state; None for a cool one.
    """

    estimator: LatencyEstimator
    measure: Measure | None = None
    attempts: list[dict[str, Any]] = field(default_factory=list)
    clock: PlanningClock = field(default_factory=PlanningClock)
    blocks: bool = True
    load: Load | None = None
    exact: ClassVar[bool] = True  # a plan that is faster than the target gets more channels back

    def select(self, budget: Budget, graph: Graph, scores: Floats, ratios: Mapping[str, float]) -> Plan:  # noqa: ARG002
        """Select the most important channels that fit the goals, by the table.

        Args:
            budget: with the goals.
            graph: of the model.
            scores: (graph.classes,), higher is more important.
            ratios: unused.

        Raises:
            TargetError: the fewest channels, steps and protected channels do not allow it, or nothing is
                gained.
        """
        return self._chosen(budget, graph, scores, self._target_share(budget))

    def tracking_budget(self, budget: Budget, graph: Graph, scores: Floats) -> Budget:
        """Replace a latency target with the FLOPs of the plan that meets it by the table.

        Latency is a staircase, and hardly falls while channels are pruned one by one: a width between two
        steps takes the next one's time or more, and pruning a channel removes no block. A controller that
        followed the time itself turned 98 % of a ResNet-20's FLOPs off on its way to half of the time, and
        ruined its weights.

        Args:
            budget: with the goals.
            graph: of the model.
            scores: (graph.classes,), higher is more important.

        Raises:
            TargetError: as `select`.
        """
        if not need_device(budget.targets):
            return budget
        flops_share = budget.share("flops", graph, budget.select(graph, scores).keep)
        return Budget.of(Target("flops", flops_share), graph)

    def _target_share(self, budget: Budget) -> float:
        """Return the first of the device's targets as a fraction of what the unpruned model takes."""
        return DeviceGoals(budget).first_share

    def _chosen(self, budget: Budget, graph: Graph, scores: Floats, share: float) -> Plan:
        """Select within the goals, and within that fraction of the time, or energy, by the table."""
        # No plan of a device is to be slower than the unpruned model.
        goals = {LATENCY: budget.originals[LATENCY], **budget.goals, **DeviceGoals(budget).at(share)}
        return self._knapsack(budget, graph, scores, goals)

    def _predicted(self, budget: Budget, graph: Graph, plan: Plan) -> float:
        """Return the plan's fraction by the table, comparable with `_target_share`."""
        goals = DeviceGoals(budget)
        return goals.predicted({kind: self._share(budget, graph, plan, kind) for kind in goals.shares})

    def _share(self, budget: Budget, graph: Graph, plan: Plan, kind: str = LATENCY) -> float:
        """Return the plan's fraction of the time, or energy, by the table."""
        return budget.share(kind, graph, plan.keep)

    def _ratio(self, budget: Budget, graph: Graph, plan: Plan, measured: Measured) -> float:  # noqa: ARG002
        """Return the measured time, or energy, over the target."""
        return DeviceGoals(budget).ratio(measured)

    def _interval(self, budget: Budget, measured: Measured) -> Interval:
        """Return the ratio of baseline and plan that decides, with its ends."""
        return DeviceGoals(budget).interval(measured)

    def _saved_least(self, budget: Budget, measured: Measured) -> float:
        """Return the share of the baseline's time, or energy, that must be below 1 for anything to be gained."""
        return DeviceGoals(budget).worst_share(measured)

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
        costs[LATENCY] = WatchedCost(costs[LATENCY], self.clock)
        if PER_FLOP in goals:
            originals = budget.originals[LATENCY], budget.originals["flops"]
            costs[PER_FLOP] = PerFlop(costs[LATENCY], graph.by_widths("flops"), *originals)
        # A knapsack adds importance up: scores must be finite and not negative.
        finite = np.nan_to_num(scores, posinf=np.abs(scores[np.isfinite(scores)]).sum() + 1)
        scores = finite - min(0.0, float(finite.min(initial=0.0)))
        steps = budget.steps(graph)
        return KnapsackSolver(
            graph, scores, costs, goals, steps=steps, floor=budget.floor, spend=spend,
            blocks=self.estimator.blocks(graph) if self.blocks else (),
        ).plan()  # fmt: skip

    def finalize(self, budget: Budget, graph: Graph, scores: Floats) -> Plan:
        """Select the final plan: measured end to end on the device, and corrected, until it meets the target.

        Args:
            budget: with the goals.
            graph: of the model.
            scores: (graph.classes,), higher is more important.

        Raises:
            TargetError: as `select`; or the measured plan is no faster than the baseline.
        """
        if self.measure is None:
            plan = self.select(budget, graph, scores, {})
            return replace(plan, notes=(*plan.notes, *self.remarks()))
        measure = self.measure

        def choose(share: float) -> tuple[Plan, float]:
            plan = self._chosen(budget, graph, scores, share)
            return plan, self._predicted(budget, graph, plan)

        def ratio(plan: Plan, measured: Measured) -> float:
            return self._ratio(budget, graph, plan, measured)

        calibration = Calibration(
            choose, lambda plan, look: measure(graph, plan, look), ratio, self.clock,
            lambda measured: self._interval(budget, measured),
        )  # fmt: skip
        with self.clock.running():
            best, attempts = calibration.run(self._target_share(budget), exact=self.exact)
            over = self.clock.is_over()
        if self._saved_least(budget, best.measured) > 1:  # fast for its FLOPs, but slower than the baseline
            best = min(attempts, key=lambda attempt: self._saved_least(budget, attempt.measured))
        self.attempts[:] = [self._record_of(budget, graph, attempt, attempt is best) for attempt in attempts]
        if self._saved_least(budget, best.measured) > 1 and not best.plan.keep.all():
            raise TargetError(self._nothing_gained(best, len(attempts)))
        notes = self._notes(budget, graph, best, over=over)
        if over and not best.met:
            plans = "the first plan" if len(attempts) == 1 else f"the best of {len(attempts)} plans"
            notes.append(
                f"planning stopped after {self.clock.limit_s:g} s (plan_seconds), and {plans} counts: more time may "
                "bring it nearer to the target"
            )
        return replace(best.plan, notes=(*best.plan.notes, *notes, *self.remarks()))

    def _nothing_gained(self, best: Attempt, plans: int) -> str:
        """Return the message for plans that take no less than the unpruned model."""
        energy = best.measured.energy
        least = f" and takes {1 / energy.ratio[0]:.3f} of its energy" if energy is not None else ""
        return (
            f"nothing is gained on this device: of {plans} plans the {'best' if least else 'fastest'} is "
            f"{best.measured.speedup[0]:.3f} times as fast as the unpruned model{least}"
        )

    def remarks(self) -> list[str]:
        """Return what a reader of these latencies should know."""
        conditions = self.estimator.table.conditions
        machine = conditions.get(ASSUMED_ON)
        under_load = self.load.remarks() if self.load is not None else []
        if machine is None:
            return under_load
        return [
            *under_load,
            f"the {conditions['device']} that was asked for was assumed (--assume-device): all times are of "
            f"{machine}",
        ]

    def record(self, budget: Budget) -> dict[str, Any] | None:
        """Return the attempts and their measurements, and the conditions."""
        if not self.attempts:
            return None
        return {
            "schema": 1,
            "targets": [str(target) for target in budget.targets],
            "conditions": self.estimator.table.conditions,
            "baseline_ms_by_table": budget.originals[LATENCY],
            "plan_seconds": self.clock.limit_s,
            "attempts": self.attempts,
            **({ENERGY: source} if (source := self._energy_source(budget)) else {}),
            **({"sustained": self.load.record()} if self.load is not None else {}),
        }

    def _record_of(self, budget: Budget, graph: Graph, attempt: Attempt, chosen: bool) -> dict[str, Any]:
        """Return an attempt as JSON, for the record."""
        time = self._share(budget, graph, attempt.plan)
        return {
            **attempt.to_dict(),
            "predicted_fraction": time,
            "table_error": time / attempt.measured.share - 1,
            "flops_fraction": budget.share("flops", graph, attempt.plan.keep),
            "chosen": chosen,
            **self._energy_of(budget, graph, attempt),
        }

    def _energy_of(self, budget: Budget, graph: Graph, attempt: Attempt) -> dict[str, Any]:
        """Return an attempt's energy as JSON; nothing where that is not a target."""
        if attempt.measured.energy is None:
            return {}
        return energy_record(attempt.measured, self._share(budget, graph, attempt.plan, ENERGY))

    def _energy_source(self, budget: Budget) -> dict[str, Any]:
        """Return the sensor and what it counts; nothing where energy is not a target."""
        return getattr(budget.bound.get(ENERGY), "conditions", {})

    def _notes(self, budget: Budget, graph: Graph, best: Attempt, *, over: bool) -> list[str]:
        """Describe the measurement of the final plan in words, and why it missed its target, if it did.

        Args:
            budget: with the targets.
            graph: of the network.
            best: the plan that counts.
            over: whether the time for planning was up.
        """
        notes = [self._latency_note(best.measured, self._share(budget, graph, best.plan))]
        if best.measured.energy is not None:
            predicted = self._share(budget, graph, best.plan, ENERGY)
            notes.append(energy_note(best.measured, predicted, self._energy_source(budget)))
        if not best.met:
            notes[-1] = f"{notes[-1]}; {self._missed(budget, best, over=over)}"
        return notes

    def _latency_note(self, result: Measured, predicted: float) -> str:
        """Describe the latencies of the final plan in words."""
        low, high = result.speedup[1:]
        by = "" if result.percentile == 50 else f", by {result.percentile}th percentiles"
        how = f"at a glance{by}" if result.glance else f"end to end{by}"
        return (
            f"measured {how}: {result.pruned_ms:.4g} ms of {result.baseline_ms:.4g} ms, "
            f"{result.speedup[0]:.3f} times as fast ({low:.3f} to {high:.3f}); the table said {1 / predicted:.3f}"
        )

    def _missed(self, budget: Budget, best: Attempt, *, over: bool) -> str:
        """Return by how much a plan takes more or less than its target, and why.

        Args:
            budget: with the targets.
            best: the plan that counts.
            over: whether the time for planning was up: then nothing is known of other plans.
        """
        targets, percent = ", ".join(map(str, budget.targets)), 100 * abs(best.ratio - 1)
        if best.ratio < 1:
            why = "" if over else ": the device's steps leave no plan nearer"
            return f"that is {percent:.1f} % less than {targets} asks for{why}"
        slow = f"none of the plans that were tried {'takes less' if best.measured.energy else 'is faster'}"
        return f"{targets} was missed by {percent:.1f} %: {slow}"
