"""Solve the budget of several boards: what counts is the board that is the worst off, in tables and measured."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprune.budget import Budget, Solver, Target
from edgeprune.graph.classes import Bools, Graph, Ints
from edgeprune.graph.plan import Plan
from edgeprune.latency.calibrate import Measured
from edgeprune.latency.device import Measure, TimeSolver
from edgeprune.latency.end_to_end import Look
from edgeprune.latency.width_costs import WidthCost
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.records.times import BoardTimes, PlanTimes
from edgeprune.resources.latency import LATENCY, Latency

Floats = NDArray[np.float64]


def compared_in_ms(targets: tuple[Target, ...]) -> bool:
    """Return whether the slowest board in ms is the worst off, or the one that keeps the largest share of its time."""
    return any(target.kind == LATENCY and target.amount is not None for target in targets)


@dataclass(frozen=True)
class WorstLatency(Latency):
    """The latency on the board that is the worst off.

    Attributes:
        boards: (weight, latency there) of each; times are multiplied by the weights.
    """

    boards: Sequence[tuple[float, Any]]

    def cost(self, graph: Graph, keep: Bools | None = None) -> float:
        """Return the weighted ms of what (classes,) ``keep`` leave."""
        return max(weight * board.cost(graph, keep) for weight, board in self.boards)

    def by_widths(self, graph: Graph) -> "WorstByWidths":
        """Return the weighted ms as a function of the groups' widths."""
        return WorstByWidths([(weight, board.by_widths(graph)) for weight, board in self.boards])

    def steps(self, graph: Graph) -> Ints:
        """Return for each group the least common multiple of the boards' steps."""
        steps: Ints = np.lcm.reduce(np.stack([board.steps(graph) for _, board in self.boards]))
        return steps


class WorstByWidths:
    """The weighted ms of the costliest board as a function of the groups' widths."""

    def __init__(self, boards: Sequence[tuple[float, WidthCost]]) -> None:
        """Take (weight, ms by widths) of each board."""
        self.boards = boards
        self._at = b""
        self._before: list[float] = []

    def __call__(self, widths: Ints) -> float:
        """Return the cost at these widths."""
        return max(weight * cost(widths) for weight, cost in self.boards)

    def moved(self, widths: Ints, before: float, groups: tuple[int, ...], to: tuple[int, ...]) -> float:  # noqa: ARG002
        """Return the cost after some groups change their width.

        Args:
            widths: (groups,) channels of each group.
            before: unused: the costliest board may be another one afterwards, so that each board's own is needed.
            groups: that change.
            to: their new widths.
        """
        if widths.tobytes() != self._at:  # many moves start from the same widths
            self._at, self._before = widths.tobytes(), [cost(widths) for _, cost in self.boards]
        return max(
            weight * cost.moved(widths, own, groups, to)
            for (weight, cost), own in zip(self.boards, self._before, strict=True)
        )


@dataclass(frozen=True)
class BoardsSolver(Solver):
    """Solves the budget of several boards as that of one, whose measurements are the worst of all.

    Attributes:
        inner: the solver, which knows nothing of several boards.
        solvers: of each board alone, by its name.
        measured: (plan, what it took on each board), in the order of measuring.
        final: what the final plan took on each board.
    """

    inner: TimeSolver
    solvers: Mapping[str, TimeSolver]
    measured: list[tuple[Plan, dict[str, Measured]]] = field(default_factory=list)
    final: dict[str, Measured] = field(default_factory=dict)

    @classmethod
    def of(
        cls, solvers: Mapping[str, TimeSolver], in_ms: bool, progress: ProgressCallback = no_progress
    ) -> "BoardsSolver":
        """Return the solver of several boards.

        Args:
            solvers: of each alone, by its name.
            in_ms: see `compared_in_ms`.
            progress: called with ``(done, total, text)`` while plans are chosen and measured.
        """
        measured: list[tuple[Plan, dict[str, Measured]]] = []
        first = next(iter(solvers.values()))
        measures = {name: solver.measure for name, solver in solvers.items() if solver.measure is not None}

        worst = _worst_measured(measures, partial(badness, in_ms=in_ms), measured) if measures else None
        clock = replace(first.clock, progress=progress)
        return cls(replace(first, measure=worst, clock=clock), solvers, measured)

    def select(self, budget: Budget, graph: Graph, scores: Floats, ratios: Mapping[str, float]) -> Plan:
        """Select what fits on every board; see `TimeSolver.select`.

        Args:
            budget: with the goals.
            graph: of the model.
            scores: (graph.classes,), higher is more important.
            ratios: unused.
        """
        return self.inner.select(budget, graph, scores, ratios)

    def tracking_budget(self, budget: Budget, graph: Graph, scores: Floats) -> Budget:
        """Return what a controller tracks; see `TimeSolver.tracking_budget`.

        Args:
            budget: with the goals.
            graph: of the model.
            scores: (graph.classes,), higher is more important.
        """
        return self.inner.tracking_budget(budget, graph, scores)

    def finalize(self, budget: Budget, graph: Graph, scores: Floats) -> Plan:
        """Select the final plan, measured on every board and corrected until the target is met on the worst.

        Args:
            budget: with the goals.
            graph: of the model.
            scores: (graph.classes,), higher is more important.

        Raises:
            TargetError: see `TimeSolver.finalize`.
        """
        self.measured.clear()
        plan = self.inner.finalize(budget, graph, scores)
        self.final.clear()
        self.final.update(self._last_of(plan))
        if not self.final:
            return plan
        texts = [
            f"{name} {times.pruned_ms:.4g} of {times.baseline_ms:.4g} ms ({times.speedup[0]:.3f} times as fast)"
            for name, times in self.final.items()
        ]
        note = f"measured on {len(texts)} boards, of which the worst off counts: {', '.join(texts)}"
        return replace(plan, notes=(*plan.notes, note))

    def record(self, budget: Budget) -> dict[str, Any] | None:
        """Return what was measured, with each board's conditions and its times of the last plan that counted."""
        record = self.inner.record(budget)
        if record is None:
            return None
        boards = [
            {
                "host": name,
                "conditions": solver.estimator.table.conditions,
                "measured": self.final[name].to_dict() if name in self.final else None,
            }
            for name, solver in self.solvers.items()
        ]
        return {**record, "boards": boards}

    def remarks(self) -> list[str]:
        """Return what a reader of these latencies should know, of each board."""
        return list(dict.fromkeys(line for solver in self.solvers.values() for line in solver.remarks()))

    def times_on_each(self, plan: Plan) -> tuple[BoardTimes, ...]:
        """Return what a plan took on each board when it was measured last."""
        return tuple(
            BoardTimes(**times.record(), host=name, conditions=self.solvers[name].estimator.table.conditions)
            for name, times in self._last_of(plan).items()
        )

    def _last_of(self, plan: Plan) -> dict[str, Measured]:
        """Return what a plan took on each board when it was measured last; nothing where it was not."""
        alike = (times for other, times in reversed(self.measured) if (other.keep == plan.keep).all())
        return next(alike, {})


def badness(times: Measured | PlanTimes, *, in_ms: bool) -> float:
    """Return how badly off a board is with a plan.

    Args:
        times: of the plan on the board.
        in_ms: see `compared_in_ms`.
    """
    return times.pruned_ms if in_ms else 1 / times.speedup[0]


def _worst_measured(
    measures: Mapping[str, Measure],
    badness: Callable[[Measured], float],
    measured: list[tuple[Plan, dict[str, Measured]]],
) -> Measure:
    """Return what measures a plan on one board after the other, and gives the worst.

    Args:
        measures: of each board, by its name.
        badness: of a board's times; the highest counts.
        measured: gets each plan with all of its times.
    """

    def measure(graph: Graph, plan: Plan, look: Look | None = None) -> Measured:
        times: dict[str, Measured] = {}
        for name, measure_there in measures.items():
            own = None if look is None else replace(look, report=named(look.report, name))
            times[name] = measure_there(graph, plan, own)
        measured.append((plan, times))
        return max(times.values(), key=badness)

    return measure


def named(progress: ProgressCallback, name: str) -> ProgressCallback:
    """Return a callback that says of which board it reports.

    Args:
        progress: called with ``(done, total, text)``.
        name: of the board.
    """

    def on_progress(done: float, total: float, text: str) -> None:
        progress(done, total, f"{text} ({name})")

    return on_progress
