"""The summary of a run: the only look at the test images, and what each target asked and got."""

from typing import Any

import torch
from torch import nn

from edgeprune import resources, tasks, training
from edgeprune.budget import TOLERANCE, Target, parse_targets
from edgeprune.data import DataBundle
from edgeprune.graph.classes import build_graph, parts_kept
from edgeprune.runs.run import Run
from edgeprune.train_prune.options import TrainPruneOptions

Record = dict[str, Any]


def judge(run: Run, data: DataBundle, options: TrainPruneOptions) -> Record:
    """Test the three models of a run; what summary.json holds."""
    models = {which: run.load(which) for which in ("baseline", "settled", "pruned")}
    records = {which: _record(run, data, options, which, model) for which, model in models.items()}
    base, pruned = records["baseline"], records["pruned"]
    task = tasks.get(options.task)
    metric = task.metric
    targets = parse_targets(options.target)
    example, opaque = torch.zeros(1, *data.shape), options.opaque or ()
    graph = build_graph(models["baseline"].cpu(), example, opaque=opaque)
    settled = run.times()

    def amounts(target: Target) -> tuple[float, float] | None:
        if target.resource.needs_device:
            return target.resource.measured_on_device(settled)
        if target.kind in base:
            return base[target.kind], pruned[target.kind]
        before, after = (
            target.resource.measure(models[which].cpu(), example, opaque) for which in ("baseline", "pruned")
        )
        return before, after

    outcomes = [_outcome(target, amounts(target)) for target in targets]
    return {
        "schema": 1,
        "target": outcomes[0],
        "targets": outcomes,
        "params_fraction": pruned["params"] / base["params"],
        "flops_fraction": pruned["flops"] / base["flops"],
        "task": task.name,
        "metric": metric.to_dict(),
        f"{metric.name}_drop": metric.worth(base[metric.name]) - metric.worth(pruned[metric.name]),
        "models": records,
        "notes": [*run.notes(), *parts_kept(graph), *_missed(targets, outcomes), *data.notes],
    }


def _outcome(target: Target, amounts: tuple[float, float] | None) -> Record:
    """One target, and what remains of its quantity; null where a time was not measured."""
    found: Record = {
        "kind": target.kind,
        "asked": str(target),
        "fraction": target.fraction,
        "got_fraction": None,
    }
    if amounts is None:
        return found
    before, after = amounts
    return {**found, "fraction": min(1.0, target.goal(before) / before), "got_fraction": after / before}


def _missed(targets: tuple[Target, ...], outcomes: list[Record]) -> list[str]:
    """Targets that were not met; of one that stands alone, also if more went than was asked.

    Times have a note of their own, from when they were measured.
    """
    found = []
    for target, one in zip(targets, outcomes, strict=True):
        if target.resource.needs_device or one["got_fraction"] is None:
            continue
        off = one["got_fraction"] / one["fraction"] - 1
        if off > TOLERANCE or (len(targets) == 1 and off < -TOLERANCE):
            found.append(f"{target} was asked, {one['got_fraction']:.3f} of the {target.kind} remains")
    return found


def _record(run: Run, data: DataBundle, options: TrainPruneOptions, which: str, model: nn.Module) -> Record:
    example, task = torch.zeros(1, *data.shape), tasks.get(options.task)
    return {
        **training.evaluate(model.to(options.device), data.batches("test"), task, options.device),
        "test_images": data.sizes["test"],
        "params": int(resources.get("params").measure(model, example)),
        "flops": int(resources.get("flops").measure(model.cpu(), example)),
        "size_bytes": (run.path / f"{which}.safetensors").stat().st_size,
    }
