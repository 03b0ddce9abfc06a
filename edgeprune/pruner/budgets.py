"""The budget of a network: of costs, or of a device's latency."""

from typing import Any

from torch import Tensor

from edgeprune.budget import Budget, PlanSolver, Target, need_device, parse_targets
from edgeprune.errors import TargetError
from edgeprune.graph.arguments import kind_of
from edgeprune.graph.classes import Graph
from edgeprune.latency import BenchTarget, device_budget
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.records.runs import KeepPlan


def budget_for(
    graph: Graph,
    target: str | Target,
    device: Any = None,
    *,
    plan: KeepPlan | None = None,
    align: int | None = None,
    floor: int = 2,
    plan_seconds: float | None = None,
    progress: ProgressCallback = no_progress,
) -> Budget:
    """Return the budget of an unpruned network.

    Args:
        graph: of it.
        target: as `edgeprune.budget.parse_targets` reads it.
        device: a profile's name, or a `BenchTarget`; None for none, or for "cpu" if the target is a latency.
        plan: a keep-plan that replaces the selection.
        align: widths become multiples of this; see `select`. None for what suits the device, or most of them.
        floor: no layer keeps fewer channels.
        plan_seconds: bounds measuring and correcting plans for a device; see `device_budget`.
        progress: called with (done, total, text) while a device is timed.

    Raises:
        TargetError: the target cannot be read, or the network's input is not a batch of images.
        LatencyError, BenchError: the device cannot be timed.
    """
    targets = parse_targets(target)
    if plan is not None:
        # The plan decides, so the target only says what is counted; a device's is not measured for it.
        counted = tuple(item for item in targets if not item.resource.needs_device) or parse_targets(
            "flops=1"
        )
        return Budget(
            counted, {item.kind: item.resource.cost(graph) for item in counted}, solver=PlanSolver(plan)
        )
    if not isinstance(device, str | BenchTarget | None) or device == "":
        raise TargetError(f"a profile's name or a BenchTarget is wanted as device, not {kind_of(device)}")
    if device is None and not need_device(targets):
        if plan_seconds is not None:
            raise TargetError(
                "plan_seconds is of a device's budget: name a device, or a target such as latency=0.7"
            )
        return Budget.of(targets, graph, align, floor)
    site = device if isinstance(device, BenchTarget) else BenchTarget.reach(device)
    if not isinstance(graph.inputs[0], Tensor):
        raise TargetError(
            f"a latency table is for networks that take a batch of images, not {kind_of(graph.inputs[0])}: "
            "give a target of flops, params or memory, and no device"
        )
    shape = tuple(graph.inputs[0].shape[1:])
    return device_budget(
        graph.model, shape, target, site, align=align, floor=floor, graph=graph, plan_seconds=plan_seconds,
        progress=progress,
    )  # fmt: skip
