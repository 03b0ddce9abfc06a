"""One budget for several boards: a plan costs what it does on the one that is the worst off, in tables and measured."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from msgspec import UNSET
from torch import nn

from edgeprune.budget import Budget, Target, parse_targets
from edgeprune.errors import BenchError, TargetError
from edgeprune.files.paths import file_word
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.graph.plan import Plan
from edgeprune.latency.bench_target import BenchTarget
from edgeprune.latency.boards_solver import BoardsSolver, WorstLatency, compared_in_ms, named
from edgeprune.latency.budget import device_budget
from edgeprune.latency.calibrate import Measured
from edgeprune.latency.device import TimeSolver
from edgeprune.latency.energy import refuse_energy
from edgeprune.latency.steady import in_steady_ms
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.records.times import PlanTimes
from edgeprune.resources.latency import LATENCY

MakeBudget = Callable[[str], Budget]


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
        model, shape, target, graph, progress: see `device_budget`.
        boards: where to measure; each has a table of its own.
        options: further ones of `device_budget`; ``lut`` is not among them.

    Raises:
        TargetError: the target cannot be parsed, or the model meets it already on every board.
        LatencyError, ExportError, BenchError: see `device_budget`; the message names the board.
    """
    if graph is None:
        graph = build_graph(model, torch.zeros(1, *shape))

    def makers() -> Iterator[tuple[str, MakeBudget]]:
        for name, (board, lut) in by_name(boards).items():
            report = named(progress, name)
            yield (
                name,
                partial(
                    device_budget,
                    model,
                    shape,
                    bench_target=board,
                    lut=lut,
                    graph=graph,
                    progress=report,
                    **options,
                ),
            )

    return budget_of_boards(target, dict(makers()), check=options.get("check", True), progress=progress)


def budget_of_boards(
    target: str | Target,
    makers: Mapping[str, MakeBudget],
    *,
    check: bool = True,
    progress: ProgressCallback = no_progress,
) -> Budget:
    """Return the budget whose targets hold on each of several boards.

    Args:
        target: see `device_budget`.
        makers: the name of a board -> what makes its own budget for a target; all of the same model.
        check: whether the budgets' plans are measured.
        progress: called with ``(done, total, text)``.

    Raises:
        TargetError: the model meets the target already on every board, or it is an energy.
        LatencyError, ExportError, BenchError: see `device_budget`.
    """
    targets = parse_targets(target)
    check_boards_together(targets)
    # A board on which the model meets an amount already is no reason to refuse: what counts is the slowest one.
    own = ",".join(
        str(Target(LATENCY, 1.0, sustained=item.sustained) if item.kind == LATENCY else item)
        for item in targets
    )
    budgets: dict[str, Budget] = {}
    for name, make in makers.items():
        budgets[name] = make(own)
        if check:
            # By the targets in ms: each board's table in proportion to what the board takes in its steady state.
            report = named(progress, name)
            in_steady = in_steady_ms(replace(budgets[name], targets=targets), report, refuse=False)
            budgets[name] = replace(in_steady, targets=budgets[name].targets)
    return worst_of(budgets, targets, steady=check, progress=progress)


def check_boards_together(targets: tuple[Target, ...]) -> None:
    """Raise TargetError for targets that do not hold on several boards at once."""
    refuse_energy(targets, "the energies of several boards are not budgeted together: name one host")


def by_name(boards: Sequence[BenchTarget]) -> dict[str, tuple[BenchTarget, Path]]:
    """Return boards, and the paths of their tables, by the names of their hosts.

    Raises:
        BenchError: one is named twice.
    """
    names = [board.host or board.device.name for board in boards]
    for name in names:
        if names.count(name) > 1:
            raise BenchError(f"--host {name} is named twice: name each board once")
    return {name: (board, _table_of(board, boards)) for name, board in zip(names, boards, strict=True)}


def _table_of(board: BenchTarget, boards: Sequence[BenchTarget]) -> Path:
    """Return the path of a board's table: boards of a kind share the usual one, others that have its name do not."""
    alike = [other for other in boards if other.lut == board.lut]
    if all(other.conditions == board.conditions for other in alike):
        return board.lut
    return board.lut.with_name(f"{board.lut.stem}-{file_word(board.host or board.device.name)}.json")


def worst_of(
    budgets: Mapping[str, Budget],
    targets: tuple[Target, ...],
    *,
    steady: bool = True,
    progress: ProgressCallback = no_progress,
) -> Budget:
    """Return the budget that the costliest of several boards sets.

    A target in ms compares the boards by their ms, any other by their shares of the unpruned model's time there, which
    are shown in ms of the first board.

    Args:
        budgets: of each board, by its name, for the same model.
        targets: of the model.
        steady: whether the times are those of the steady state, where a target is sustained.
        progress: called with ``(done, total, text)``.

    Raises:
        TargetError: the model meets the latency target already.
    """
    unpruned = {name: budget.originals[LATENCY] for name, budget in budgets.items()}
    first = next(iter(budgets.values()))
    in_ms = compared_in_ms(targets)
    reference_ms = max(unpruned.values()) if in_ms else first.originals[LATENCY]
    weights = {name: 1.0 if in_ms else reference_ms / ms for name, ms in unpruned.items()}
    for target in targets:
        known = steady or not target.sustained
        if target.kind == LATENCY and known and target.goal(reference_ms) > reference_ms:
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
        solver=BoardsSolver.of(solvers, in_ms, progress),  # type: ignore[arg-type]
    )


def measure_plan(budget: Budget, graph: Graph, plan: Plan) -> tuple[Measured, PlanTimes] | None:
    """Measure a plan on the device of a budget, or on each of its boards: the times are then the worst one's.

    Args:
        budget: of the model.
        graph: of the model.
        plan: for it.

    Returns:
        What was measured, and its record with the times of each board; None for a budget whose plans are not measured.

    Raises:
        ExportError, BenchError: the plan's model cannot be exported or measured.
    """
    solver = budget.solver
    inner = solver.inner if isinstance(solver, BoardsSolver) else solver
    if not isinstance(inner, TimeSolver) or inner.measure is None:
        return None
    measured = inner.measure(graph, plan)
    boards = solver.times_on_each(plan) if isinstance(solver, BoardsSolver) else UNSET
    return measured, PlanTimes(**measured.record(), boards=boards)
