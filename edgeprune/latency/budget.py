"""Make a device's budget of a model from the device's name: read its table, or build what is missing."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgeprune import resources
from edgeprune.budget import Budget, Target, need_device, need_load, parse_targets
from edgeprune.errors import TargetError
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.latency.bench_target import BenchTarget
from edgeprune.latency.build import build_table
from edgeprune.latency.device import Load, Measure, TimeSolver
from edgeprune.latency.efficiency import EfficiencySolver
from edgeprune.latency.end_to_end import EndToEndTimer
from edgeprune.latency.energy import (
    ENERGY_PLAN_SECONDS,
    energy_on,
    need_energy,
    refuse_energy,
    unpruned_power,
)
from edgeprune.latency.estimator import LatencyEstimator, LatencyOn
from edgeprune.latency.planning import PLAN_SECONDS, PlanningClock
from edgeprune.latency.shapes import read_model
from edgeprune.latency.steady import STEADY_PLAN_SECONDS, SteadyTimer, in_steady_ms
from edgeprune.latency.table import Table
from edgeprune.options.bounds import SECONDS
from edgeprune.processes.distributed import world
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.resources import ENERGY, LATENCY, Resource


def device_budget(
    model: nn.Module,
    shape: tuple[int, ...],
    target: str | Target,
    bench_target: BenchTarget | None = None,
    *,
    lut: Path | None = None,
    align: int | None = None,
    floor: int = 2,
    check: bool = True,
    graph: Graph | None = None,
    plan_seconds: float | None = None,
    progress: ProgressCallback = no_progress,
) -> Budget:
    """Return the budget of a model on a device.

    Args:
        model: the unpruned one.
        shape: (C, H, W) of an image.
        target: 'latency=0.5', 'latency=8ms', 'energy=0.5', 'flops=0.5', or several separated by commas.
        bench_target: where to measure; None for this machine's CPU.
        lut: the latency table; None for the usual one of ``bench_target``. Missing layers are timed and added
            to it.
        align: widths become multiples of this, and of the device's own steps; None for those alone.
        floor: fewest channels of a group, except for blocks that are removed completely.
        check: whether the final plan is exported and measured end to end.
        graph: of the model, where there is one already.
        plan_seconds: after this time, counted from when the table is there, no further plan is measured and
            corrected; None for `PLAN_SECONDS`, `ENERGY_PLAN_SECONDS` for an energy, or `STEADY_PLAN_SECONDS` for a
            sustained target.
        progress: called with ``(done, total, text)``: in layers while the table is built, in seconds while plans
            are chosen and measured.

    Raises:
        TargetError: the target cannot be parsed, or the model meets it already; or ``plan_seconds`` is no time.
        LatencyError: the table is of another device, or no layer can be timed; or an energy is a target and no power
            sensor answers, or the power table is of another one.
        ExportError, BenchError: the model cannot be exported or measured.
    """
    targets = parse_targets(target)
    check_together(targets)
    clock = clock_for(targets, plan_seconds, progress)
    timer_class = SteadyTimer if need_load(targets) else EndToEndTimer
    timer = timer_class(model, shape, bench_target or BenchTarget.reach())
    unpruned = unpruned_power(timer, progress) if need_energy(targets) else None
    table = table_of(timer, lut, progress)
    if graph is None:
        graph = build_graph(model, torch.zeros(1, *shape))
    estimator = LatencyEstimator(graph, read_model(timer.onnx_file, timer.bench_target.batch), table)
    energy = energy_on(unpruned, timer, estimator, lut, progress) if unpruned is not None else None
    return budget_by(
        timer, estimator, targets, check=check, energy=energy, align=align, floor=floor, clock=clock
    )


def budget_by(
    timer: EndToEndTimer,
    estimator: LatencyEstimator,
    targets: tuple[Target, ...],
    *,
    clock: PlanningClock,
    check: bool = True,
    **options: Any,
) -> Budget:
    """Return the budget of an unpruned model on a device, whose plans are measured by a timer.

    Args:
        timer: of the model; a `SteadyTimer` for targets that need a load.
        estimator: predicts the latency of a plan from the table.
        targets: as parsed.
        clock: bounds the time of measuring and correcting, and reports it.
        check: whether the final plan is measured; without it the table alone counts.
        options: further ones of `budget_on`.

    Raises:
        TargetError: see `budget_on`. BenchError: the device cannot be put under load.
    """
    load = timer if isinstance(timer, SteadyTimer) else None
    measure = timer.measure if check else None
    budget = budget_on(targets, estimator, measure=measure, clock=clock, load=load, **options)
    return in_steady_ms(budget, clock.progress) if check else budget


def check_together(targets: tuple[Target, ...]) -> None:
    """Raise TargetError for targets that are not measured together: an energy, and a time under lasting load."""
    if need_load(targets):
        refuse_energy(targets, "energy is not measured under lasting load: leave @sustained out")


def budget_on(
    targets: tuple[Target, ...],
    estimator: LatencyEstimator,
    *,
    energy: Resource | None = None,
    measure: Measure | None = None,
    align: int | None = None,
    floor: int = 2,
    blocks: bool = True,
    clock: PlanningClock | None = None,
    load: Load | None = None,
) -> Budget:
    """Return the budget of an unpruned model on a device.

    Args:
        targets: as parsed; without a latency target, the speedup must keep up with the FLOPs ratio.
        estimator: predicts the latency of a plan from the table.
        energy: bound to the device; None where it is not a target.
        measure: exports and measures a plan beside the baseline; None relies on the table.
        align: widths become multiples of this, and of the device's own steps; None for those alone.
        floor: fewest channels of a group.
        blocks: whether blocks may be removed completely.
        clock: bounds the time of measuring and correcting, and reports it; None for the usual bound, in silence.
        load: what keeps the device in its steady state, for a sustained target; None for other targets.

    Raises:
        TargetError: the model meets a target of the device already; or it is sustained, and nothing keeps up the load;
            or it is an energy, which is not measured here.
    """
    if load is None and need_load(targets):
        raise TargetError(
            f"{','.join(map(str, targets))}: plans are measured on a cool device here: leave @sustained out"
        )
    graph = estimator.original
    bound: dict[str, Resource] = {LATENCY: LatencyOn(estimator)}
    if energy is not None:
        bound[ENERGY] = energy
    kinds = dict.fromkeys([LATENCY, "flops", *(target.kind for target in targets)])
    originals = {kind: bound.get(kind, resources.get(kind)).cost(graph) for kind in kinds}
    for target in targets:
        unpruned = originals[target.kind]
        # What a device takes in its steady state no table knows: see `edgeprune.latency.steady.in_steady_ms`.
        if target.kind in bound and not target.sustained and target.goal(unpruned) > unpruned:
            why = f"the unpruned model takes {unpruned:.3g} {target.resource.unit} already"
            raise TargetError(f"{target}: {why}; nothing to prune")
    solver = (TimeSolver if need_device(targets) else EfficiencySolver)(
        estimator, measure, [], clock or PlanningClock(), blocks, load
    )
    return Budget(targets, originals, align or 1, floor, bound=bound, solver=solver)


def clock_for(
    targets: tuple[Target, ...], plan_seconds: float | None, progress: ProgressCallback
) -> PlanningClock:
    """Return the clock of planning for a device's targets.

    Args:
        targets: as parsed; they determine the usual limit.
        plan_seconds: the limit; None for the usual one.
        progress: called with ``(done, total, text)``.

    Raises:
        TargetError: the limit is no time.
    """
    usual_s = ENERGY_PLAN_SECONDS if need_energy(targets) else PLAN_SECONDS
    return clock_of(plan_seconds, STEADY_PLAN_SECONDS if need_load(targets) else usual_s, progress)


def clock_of(plan_seconds: float | None, usual_s: float, progress: ProgressCallback) -> PlanningClock:
    """Return the clock of planning.

    Args:
        plan_seconds: its limit; None for ``usual_s``.
        usual_s: the usual limit.
        progress: called with ``(done, total, text)``.

    Raises:
        TargetError: the limit is no time.
    """
    if plan_seconds is not None:
        SECONDS("plan_seconds", plan_seconds, TargetError)
    return PlanningClock(usual_s if plan_seconds is None else plan_seconds, progress)


def table_of(timer: EndToEndTimer, lut: Path | None, progress: ProgressCallback) -> Table:
    """Return the table of a timer's target with the layers of its model; what is missing is timed first.

    Args:
        timer: with the unpruned model.
        lut: the table; None for the usual one.
        progress: called with ``(done, total, text)``.
    """
    where = timer.bench_target
    progress(0, 1, "writing the unpruned network")
    if world().is_main:
        build_table(timer.onnx_file, where, lut, measured_file=lambda: timer.baseline_file, progress=progress)
    world().wait()
    return build_table(timer.onnx_file, where, lut)
