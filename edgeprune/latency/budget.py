"""A device's budget of a model, from its name: the table is read, or built where something is missing."""

from pathlib import Path

import torch
from torch import nn

from edgeprune.bench.session import Progress
from edgeprune.budget import Budget, Target, parse_targets
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.latency.bench_target import BenchTarget
from edgeprune.latency.build import build_table
from edgeprune.latency.device import LatencyEstimator, budget_on
from edgeprune.latency.end_to_end import EndToEndTimer
from edgeprune.latency.shapes import read_model
from edgeprune.processes.ranks import ranks


def device_budget(
    model: nn.Module,
    shape: tuple[int, ...],
    target: str | Target,
    site: BenchTarget | None = None,
    *,
    lut: Path | None = None,
    align: int = 1,
    floor: int = 2,
    check: bool = True,
    graph: Graph | None = None,
    progress: Progress = lambda done, total, text: None,  # noqa: ARG005
) -> Budget:
    """What may remain of a model on a device.

    Args:
        model: the unpruned one.
        shape: (C, H, W) of an image.
        target: 'latency=0.5', 'latency=8ms', 'flops=0.5', or several with commas between.
        site: where; None for this machine's CPU.
        lut: the latency table; None for the site's usual one. What it lacks is timed, and written to it.
        align: widths become multiples of this, and of the device's own steps.
        floor: no group keeps fewer channels, but for a block that goes whole.
        check: whether the plan that is settled on is exported and measured whole.
        graph: of the model, where there is one already.
        progress: told ``(done, total, text)`` while the table is built.

    Raises:
        TargetError: not a target, or the model is within it already. LatencyError: a table of another device,
            or no layer that can be timed. ExportError, BenchError: it cannot be exported, or not be measured.
    """
    targets = parse_targets(target)
    site = site or BenchTarget.reach()
    whole = EndToEndTimer(model, shape, site)
    if ranks().main:
        build_table(whole.baseline_file, site, lut, progress=progress)
    ranks().wait()
    table = build_table(whole.baseline_file, site, lut)
    if graph is None:
        graph = build_graph(model, torch.zeros(1, *shape))
    pricing = LatencyEstimator(graph, read_model(whole.baseline_file, site.batch), table)
    return budget_on(
        targets,
        pricing,
        measure=whole.measure if check else None,
        align=align,
        floor=floor,
        tell=lambda text: progress(0, 1, text),
    )
