"""The summary of a run: its only evaluation on the test images, and the result for each target."""

from collections.abc import Mapping
from typing import Any

import torch
from msgspec import UNSET
from torch import nn

from edgeprune import resources, tasks, training
from edgeprune.budget import TOLERANCE, Target, parse_targets
from edgeprune.data import DataBundle
from edgeprune.graph.classes import build_graph, parts_kept
from edgeprune.records.metrics import PairedDrop
from edgeprune.records.runs import JudgedModel, JudgedModels, Outcome, Summary
from edgeprune.runs.run import Run
from edgeprune.tasks import Task
from edgeprune.tasks.classification import ACCURACY
from edgeprune.train_prune.chance import chance_note
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.quality_notes import change_note

COUNTED = ("params", "flops")  # what a summary has of each model


def summarize(run: Run, data: DataBundle, options: TrainPruneOptions) -> Summary:
    """Evaluate the three models of a run on the test images, and return their summary.

    Args:
        run: with all of its stages done.
        data: of the run.
        options: resolved ones.
    """
    models = {which: run.load(which) for which in ("baseline", "settled", "pruned")}
    task = tasks.get(options.task)
    scores, drop_interval = _scores(models, data, task, options.device)
    records = {which: _record(run, data, which, models[which], scores[which]) for which in models}
    base, pruned = records["baseline"], records["pruned"]
    metric = task.metric
    judged = (
        chance_note(options, data, scores["baseline"][metric.name], data.sizes["test"]),
        change_note(metric, scores["baseline"][metric.name], scores["pruned"][metric.name], options),
    )
    targets = parse_targets(options.target)
    example, opaque = torch.zeros(1, *data.shape), options.opaque or ()
    graph = build_graph(models["baseline"].cpu(), example, opaque=opaque)
    settled = run.times()

    def amounts(target: Target) -> tuple[float, float] | None:
        if target.resource.needs_device:
            return target.resource.measured_on_device(settled)
        if target.kind in COUNTED:
            return getattr(base, target.kind), getattr(pruned, target.kind)
        before, after = (
            target.resource.measure(models[which].cpu(), example, opaque) for which in ("baseline", "pruned")
        )
        return before, after

    outcomes = [_outcome(target, amounts(target)) for target in targets]
    drop = metric.worth(base.score(metric.name)) - metric.worth(pruned.score(metric.name))
    named: dict[str, Any] = (
        {"accuracy_drop": drop} if metric.name == ACCURACY.name else {"drops": {f"{metric.name}_drop": drop}}
    )
    return Summary(
        target=outcomes[0],
        targets=tuple(outcomes),
        params_fraction=pruned.params / base.params,
        flops_fraction=pruned.flops / base.flops,
        task=task.name,
        metric=metric.record(),
        drop_interval=drop_interval,
        models=JudgedModels(**records),
        precisions=run.precisions() or UNSET,
        notes=(
            *run.removals.notes(),
            *parts_kept(graph),
            *_missed(targets, outcomes),
            *data.notes,
            *(note for note in judged if note),
        ),
        **named,
    )


def _outcome(target: Target, amounts: tuple[float, float] | None) -> Outcome:
    """Return a target and what remains of its quantity; None where a time was not measured."""
    if amounts is None:
        return Outcome(kind=target.kind, target=str(target), fraction=target.fraction, got_fraction=None)
    before, after = amounts
    return Outcome(
        kind=target.kind,
        target=str(target),
        fraction=min(1.0, target.goal(before) / before),
        got_fraction=after / before,
    )


def _missed(targets: tuple[Target, ...], outcomes: list[Outcome]) -> list[str]:
    """Return notes on targets that were not met; of a single target, also if more was pruned than requested.

    Latency targets have a note from their measurement.
    """
    notes = []
    for target, outcome in zip(targets, outcomes, strict=True):
        if target.resource.needs_device or outcome.got_fraction is None or not outcome.fraction:
            continue
        deviation = outcome.got_fraction / outcome.fraction - 1
        if deviation > TOLERANCE or (len(targets) == 1 and deviation < -TOLERANCE):
            notes.append(f"{target} was asked, {outcome.got_fraction:.3f} of the {target.kind} remains")
    return notes


def _scores(
    models: Mapping[str, nn.Module], data: DataBundle, task: Task, device: str
) -> tuple[dict[str, dict[str, float]], PairedDrop | None]:
    """Return each model's metrics on the test images, and the interval of what the pruned one lost."""
    for model in models.values():
        model.to(device)
    pair = training.evaluate_pair(models["baseline"], models["pruned"], data, "test", task, device)
    settled = training.evaluate(models["settled"], data.batches("test"), task, device)
    return {"baseline": pair.first, "settled": settled, "pruned": pair.second}, pair.drop


def _record(
    run: Run, data: DataBundle, which: str, model: nn.Module, scores: Mapping[str, float]
) -> JudgedModel:
    example = torch.zeros(1, *data.shape)
    return JudgedModel.of(
        scores,
        test_images=data.sizes["test"],
        params=int(resources.get("params").measure(model.cpu(), example)),
        flops=int(resources.get("flops").measure(model, example)),
        size_bytes=(run.path / f"{which}.safetensors").stat().st_size,
    )
