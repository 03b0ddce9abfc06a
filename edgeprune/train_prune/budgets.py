"""The budget of a run, from its options: of costs, or of a device's latency."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from edgeprune.backends.onnx import Onnx
from edgeprune.bench.hosts import Host
from edgeprune.budget import Budget, PlanSolver, parse_targets
from edgeprune.errors import TrainError
from edgeprune.graph.classes import Graph
from edgeprune.latency import BenchTarget, device_budget
from edgeprune.latency.boards import boards_budget
from edgeprune.latency.joint_budget import joint_budget
from edgeprune.latency.mixed import FP32, MIXED
from edgeprune.options.device import naming_target
from edgeprune.processes.progress import ProgressCallback
from edgeprune.records.runs import KeepPlan
from edgeprune.records.trust import check_host
from edgeprune.train_prune.checking import on_device
from edgeprune.train_prune.options import TrainPruneOptions

Images = Callable[[], Iterable[np.ndarray]]


def make_budget(
    model: nn.Module,
    graph: Graph,
    options: TrainPruneOptions,
    *,
    progress: ProgressCallback,
    check: bool = True,
    plan: KeepPlan | None = None,
    images: Images = lambda: (),
) -> Budget:
    """Return the budget of an unpruned model.

    Args:
        model: the unpruned one.
        graph: of it.
        options: resolved ones.
        progress: called with (done, total, text) while a latency table is built, and while plans are measured.
        check: whether the final widths are measured on the device.
        plan: a keep-plan that replaces the selection.
        images: gives float32 batches of training images, by which precisions are chosen.

    Raises:
        TargetError, LatencyError, BenchError: see `edgeprune.latency.device_budget`.
    """
    if plan is not None:
        originals = {"flops": float(graph.flops())}
        return Budget(parse_targets(options.target), originals, solver=PlanSolver(plan))
    if not on_device(options):
        return Budget.of(options.target, graph, options.align, options.floor)
    shape = tuple(graph.inputs[0].shape[1:])
    common: dict[str, Any] = {
        "align": options.align, "floor": options.floor, "check": check, "graph": graph,
        "plan_seconds": options.plan_seconds, "progress": progress,
    }  # fmt: skip
    if options.precisions is not None:
        return _joint_budget(model, options, images, **common)
    if options.more_hosts:
        boards = [bench_target_of(options, host) for host in (options.host, *options.more_hosts)]
        return boards_budget(model, shape, options.target, boards, **common)
    lut = Path(options.lut) if options.lut else None
    return device_budget(
        model, shape, options.target, bench_target_of(options, options.host), lut=lut, **common
    )


def _joint_budget(
    model: nn.Module, options: TrainPruneOptions, images: Images, *, graph: Graph, check: bool, **common: Any
) -> Budget:
    """Return the budget of a run that chooses precisions, too."""
    targets = {
        precision: bench_target_of(replace(options, target_precision=precision), options.host)
        for precision in MIXED
    }
    runtime = targets[FP32].device.runtime
    if runtime != Onnx.runtime:
        raise TrainError(
            f"`precisions` are chosen for files of ONNX Runtime, and {targets[FP32].device.name} has {runtime}: say "
            f"`target_runtime={Onnx.runtime}`"
        )
    shape = tuple(graph.inputs[0].shape[1:])
    return joint_budget(
        model,
        shape,
        options.target,
        targets,
        list(images()) if check else [],
        graph=graph,
        check=check,
        **common,
    )


def bench_target_of(options: TrainPruneOptions, described: dict[str, Any] | None) -> BenchTarget:
    """Return a device that a run prunes for.

    Args:
        options: of the run.
        described: the host; None for this machine.
    """
    host = None
    if described is not None:
        check_host(described, Path("this run"))
        host = Host(**{**described, "ssh_options": tuple(described["ssh_options"])})
    batch = options.target_batch or 1
    with naming_target():
        return BenchTarget.reach(
            options.target_device, host, runtime=options.target_runtime, precision=options.target_precision,
            batch=batch, threads=options.target_threads, assume_device=options.assume_device,
        )  # fmt: skip
