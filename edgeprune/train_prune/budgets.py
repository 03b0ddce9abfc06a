"""The budget of a run, from its options: of costs, or of a device's latency."""

from pathlib import Path

from torch import nn

from edgeprune.bench.hosts import Host
from edgeprune.budget import Budget, PlanSolver, parse_targets
from edgeprune.graph.classes import Graph
from edgeprune.latency import BenchTarget, device_budget
from edgeprune.processes.progress import ProgressCallback
from edgeprune.records.runs import KeepPlan
from edgeprune.records.trust import check_host
from edgeprune.train_prune.checking import on_device
from edgeprune.train_prune.options import TrainPruneOptions


def make_budget(
    model: nn.Module,
    graph: Graph,
    options: TrainPruneOptions,
    *,
    progress: ProgressCallback,
    check: bool = True,
    plan: KeepPlan | None = None,
) -> Budget:
    """Return the budget of an unpruned model.

    Args:
        model: the unpruned one.
        graph: of it.
        options: resolved ones.
        progress: called with (done, total, text) while a latency table is built, and while plans are measured.
        check: whether the final widths are measured on the device.
        plan: a keep-plan that replaces the selection.

    Raises:
        TargetError, LatencyError, BenchError: see `edgeprune.latency.device_budget`.
    """
    if plan is not None:
        originals = {"flops": float(graph.flops())}
        return Budget(parse_targets(options.target), originals, solver=PlanSolver(plan))
    if not on_device(options):
        return Budget.of(options.target, graph, options.align, options.floor)
    return device_budget(
        model,
        tuple(graph.inputs[0].shape[1:]),
        options.target,
        bench_target_of(options),
        lut=Path(options.lut) if options.lut else None,
        align=options.align,
        floor=options.floor,
        check=check,
        graph=graph,
        plan_seconds=options.plan_seconds,
        progress=progress,
    )


def bench_target_of(options: TrainPruneOptions) -> BenchTarget:
    """Return the device that a run prunes for."""
    host = None
    if options.host is not None:
        check_host(options.host, Path("this run"))
        host = Host(**{**options.host, "ssh_options": tuple(options.host["ssh_options"])})
    batch = options.target_batch or 1
    return BenchTarget.reach(
        options.target_device, host, runtime=options.target_runtime, precision=options.target_precision,
        batch=batch, threads=options.target_threads, assume_device=options.assume_device,
    )  # fmt: skip
