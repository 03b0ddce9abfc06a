"""One budget for several boards: a plan costs what it does on the one that is the worst off, in tables and measured."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgeprune.budget import Budget, Solver, Target, parse_targets
from edgeprune.errors import BenchError, TargetError
from edgeprune.files.paths import file_word
from edgeprune.graph.classes import Bools, Graph, Ints, build_graph
from edgeprune.graph.plan import Plan
from edgeprune.latency.bench_target import BenchTarget
from edgeprune.latency.budget import device_budget
from edgeprune.latency.calibrate import Measured
from edgeprune.latency.device import Measure, TimeSolver
from edgeprune.latency.end_to_end import Look
from edgeprune.latency.energy import refuse_energy
from edgeprune.latency.steady import in_steady_ms
from edgeprune.latency.width_costs import WidthCost
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.resources.latency import LATENCY, Latency

Floats = NDArray[np.float64]


def boards_budget(
    model: nn.Module,
    shape: tuple[int, ...],
    target: str | Target,
    boards: Sequence[BenchTarget],
    *,
    graph: Graph | None = None,
    progress: ProgressCallback = no_progress,
    **options: Any,
) -> Budget:
    """Return the budget of a model whose targets hold on each of several boards.

    Args:
        model: the unpruned one.
        shape: (C, H, W) of an image.
        target: see `device_budget`.
        boards: where to measure; each has a table of its own.
        graph: of the model, where there is one already.
        progress: called with ``(done, total, text)``.
        options: further ones of `device_budget`; ``lut`` is not among them.

    Raises:
        TargetError: the target cannot be parsed, or the model meets it already on every board.
        LatencyError, ExportError, BenchError: see `device_budget`; the message names the board.
    """
    targets = parse_targets(target)
    refuse_energy(targets, "the energies of several boards are not budgeted together: name one host")
    if graph is None:
        graph = build_graph(model, torch.zeros(1, *shape))
    # A board on which the model meets an amount already is no reason to refuse: what counts is the slowest one.
    own = ",".join(
        str(Target(LATENCY, 1.0, sustained=item.sustained) if item.kind == LATENCY else item)
        for item in targets
    )
    budgets: dict[str, Budget] = {}
    for name, board in _by_name(boards).items():
        budgets[name] = device_budget(
            model, shape, own, board, lut=_table_of(board, boards), graph=graph, progress=_named(progress, name),
            **options,
        )  # fmt: skip
        if options.get("check", True):
            # By the targets in ms: each board's table in proportion to what the board takes in its steady state.
            in_steady = in_steady_ms(replace(budgets[name], targets=targets), progress, refuse=False)
            budgets[name] = replace(in_steady, targets=budgets[name].targets)
    return worst_of(budgets, targets)


def _by_name(boards: Sequence[BenchTarget]) -> dict[str, BenchTarget]:
    """Return boards by the names of their hosts.

    Raises:
        BenchError: one is named twice.
    """
    names = [board.host or board.device.name for board in boards]
    for name in names:
        if names.count(name) > 1:
            raise BenchError(f"--host {name} is named twice: name each board once")
    return dict(zip(names, boards, strict=True))


def _table_of(board: BenchTarget, boards: Sequence[BenchTarget]) -> Path:
    """Return the path of a board's table: boards of a kind share the usual one, others that have its name do not."""
    alike = [other for other in boards if other.lut == board.lut]
    if all(other.conditions == board.conditions for other in alike):
        return board.lut
    return board.lut.with_name(f"{board.lut.stem}-{file_word(board.host or board.device.name)}.json")


def worst_of(budgets: Mapping[str, Budget], targets: tuple[Target, ...]) -> Budget:
    """Return the budget that the costliest of several boards sets.

    A target in ms compares the boards by their ms, any other by their shares of the unpruned model's time there, which
    are shown in ms of the first board.

    Args:
        budgets: of each board, by its name, for the same model.
        targets: of the model.

    Raises:
        TargetError: the model meets the latency target already.
    """
    unpruned = {name: budget.originals[LATENCY] for name, budget in budgets.items()}
    first = next(iter(budgets.values()))
    in_ms = any(target.kind == LATENCY and target.amount is not None for target in targets)
    reference_ms = max(unpruned.values()) if in_ms else first.originals[LATENCY]
    weights = {name: 1.0 if in_ms else reference_ms / ms for name, ms in unpruned.items()}
    for target in targets:
        if target.kind == LATENCY and target.goal(reference_ms) > reference_ms:
            raise TargetError(
                f"{target}: the unpruned model takes at most {reference_ms:.3g} ms on these boards already; nothing "
                "to prune"
            )
    resource = WorstLatency([(weights[name], budget.resource(LATENCY)) for name, budget in budgets.items()])
    solvers = {name: budget.solver for name, budget in budgets.items()}
    assert all(isinstance(solver, TimeSolver) for solver in solvers.values())
    return replace(
        first,
        targets=targets,
        originals={**first.originals, LATENCY: reference_ms},
        bound={LATENCY: resource},
        solver=BoardsSolver.of(solvers, in_ms),  # type: ignore[arg-type]
    )


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
    def of(cls, solvers: Mapping[str, TimeSolver], in_ms: bool) -> "BoardsSolver":
        """Return the solver of several boards.

        Args:
            solvers: of each alone, by its name.
            in_ms: whether the slowest in ms is the worst off, or the one that keeps the largest share of its time.
        """
        measured: list[tuple[Plan, dict[str, Measured]]] = []
        first = next(iter(solvers.values()))
        measures = {name: solver.measure for name, solver in solvers.items() if solver.measure is not None}

        def badness(times: Measured) -> float:
            return times.pruned_ms if in_ms else times.share

        worst = _worst_measured(measures, badness, measured) if measures else None
        return cls(replace(first, measure=worst), solvers, measured)

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

    def _last_of(self, plan: Plan) -> dict[str, Measured]:
        """Return what a plan took on each board when it was measured last; nothing where it was not."""
        alike = (times for other, times in reversed(self.measured) if (other.keep == plan.keep).all())
        return next(alike, {})


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
            own = None if look is None else replace(look, report=_named(look.report, name))
            times[name] = measure_there(graph, plan, own)
        measured.append((plan, times))
        return max(times.values(), key=badness)

    return measure


def _named(progress: ProgressCallback, name: str) -> ProgressCallback:
    """Return a callback that says of which board it reports."""

    def on_progress(done: float, total: float, text: str) -> None:
        progress(done, total, f"{text} ({name})")

    return on_progress
