"""Make a budget whose plans choose precisions, too: both tables, what conversions take, the error of each layer."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from edgeprune_target.scratch import scratch_folder
from torch import nn

from edgeprune.backends.onnx_export import export_model
from edgeprune.budget import Budget, Target, parse_targets
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.graph.plan import Plan
from edgeprune.latency.bench_target import BenchTarget
from edgeprune.latency.budget import budget_on, clock_of, table_of
from edgeprune.latency.build import add_conversions
from edgeprune.latency.end_to_end import EndToEndTimer
from edgeprune.latency.energy import refuse_energy
from edgeprune.latency.joint import JointSolver, MeasuredError
from edgeprune.latency.mixed import FP32, INT8, MixedEstimator
from edgeprune.latency.planning import PLAN_SECONDS
from edgeprune.latency.shapes import read_model
from edgeprune.latency.table import Table
from edgeprune.latency.wiring import read_wiring
from edgeprune.processes.distributed import world
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.quantization.quantizing import Quantizer, Recipe

NO_POWER = (
    "precisions are chosen by the time that they take, and no power is known of conversions: leave them out"
)
ERROR_IMAGES = 64  # on which errors at the output are compared, as sensitivities are


def joint_budget(
    model: nn.Module,
    shape: tuple[int, ...],
    target: str | Target,
    targets_by_precision: Mapping[str, BenchTarget],
    images: Sequence[np.ndarray],
    *,
    align: int | None = None,
    floor: int = 2,
    check: bool = True,
    graph: Graph | None = None,
    plan_seconds: float | None = None,
    progress: ProgressCallback = no_progress,
) -> Budget:
    """Return the budget of a model on a device, whose plans choose the precision of each layer, too.

    Args:
        model: the unpruned one, trained.
        shape, align, floor, graph, progress: see `device_budget`.
        target: as there, without an energy; a share is of the float32 model's time.
        targets_by_precision: where to measure, in "fp32" and in "int8".
        images: float32 batches (n, C, H, W), by which errors are measured.
        check: as there; without it no error is measured either.
        plan_seconds: as there; None for `PLAN_SECONDS`.

    Raises:
        EdgePruneError: see `device_budget`.
    """
    refuse_energy(parse_targets(target), NO_POWER)
    parsed, clock = parse_targets(target), clock_of(plan_seconds, PLAN_SECONDS, progress)
    timers = {
        precision: EndToEndTimer(model, shape, where) for precision, where in targets_by_precision.items()
    }
    timer = timers[FP32]
    tables = {precision: table_of(own, None, progress) for precision, own in timers.items()}
    if world().is_main:
        add_conversions(timer.onnx_file, timers[INT8].bench_target, timers[INT8].bench_target.lut, progress)
    world().wait()
    tables[INT8] = Table.load(timers[INT8].bench_target.lut)
    graph = build_graph(model, torch.zeros(1, *shape)) if graph is None else graph
    batch = timer.bench_target.batch
    estimator = MixedEstimator(
        graph, read_model(timer.onnx_file, batch), tables[FP32], int8=tables[INT8],
        wiring=read_wiring(timer.onnx_file, batch),
    )  # fmt: skip
    budget = budget_on(parsed, estimator, align=align, floor=floor, clock=clock)
    errors = dict.fromkeys(estimator.wiring.layers, 0.0)
    if not check:
        return replace(budget, solver=JointSolver(estimator, None, [], clock, errors=errors))
    progress(0, 1, "int8: the error of each layer")
    errors = sensitivities(model, shape, images)
    progress(0, 1, "int8: measuring the unpruned network")
    estimator.int8 = estimator.int8.scaled(_int8_scale(timer, estimator))
    error_of = MeasuredError(np.concatenate([*images])[:ERROR_IMAGES])
    solver = JointSolver(estimator, timer.measure, [], clock, errors=errors, output_error=error_of)
    return replace(budget, solver=solver)


def sensitivities(model: nn.Module, shape: tuple[int, ...], images: Sequence[np.ndarray]) -> dict[str, float]:
    """Return the relative error at a network's output that each layer's int8 adds, by the layer's name.

    Args:
        model: in eval mode, on the CPU.
        shape: (C, H, W) of an image.
        images: float32 batches (n, C, H, W), to find ranges and errors on.
    """
    import onnx

    with scratch_folder() as folder:
        path = Path(folder) / "model.onnx"
        export_model(model, shape, path)
        quantizer = Quantizer(onnx.load(str(path)), images, Recipe())
    names = {layer.output: layer.name for layer in quantizer.layers}
    return {names[output]: error for output, error in quantizer.errors().items()}


def _int8_scale(timer: EndToEndTimer, estimator: MixedEstimator) -> float:
    """Return what the int8 table's times are multiplied by: tables were timed apart, both files now in turn.

    Args:
        timer: of the float32 target.
        estimator: with both tables.
    """
    graph = estimator.original
    in_int8 = estimator.in_int8(graph)
    measured = timer.measure(graph, replace(Plan.everything(graph), precisions=in_int8))
    others_ms = estimator.ms(graph, {}) - sum(estimator.on(graph).by_layer().values())
    int8_ms = estimator.ms(graph, in_int8) - others_ms
    return max(0.1, (measured.share * estimator.ms(graph, {}) - others_ms) / int8_ms)
