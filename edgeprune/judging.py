"""The summary of a run: the only look at the test images, and what each target asked and got."""

from typing import Any

import torch
from torch import nn

from edgeprune import training
from edgeprune.budget import LATENCY, TOLERANCE, Target, parse_targets
from edgeprune.data import DataBundle
from edgeprune.graph.classes import build_graph, parts_kept
from edgeprune.recipe import TrainPruneOptions
from edgeprune.runs import Run

Record = dict[str, Any]


def judge(run: Run, data: DataBundle, options: TrainPruneOptions) -> Record:
    """Test the three models of a run; what summary.json holds."""
    models = {which: run.load(which) for which in ("baseline", "settled", "pruned")}
    records = {which: _record(run, data, options, which, model) for which, model in models.items()}
    base, pruned = records["baseline"], records["pruned"]
    amounts: dict[str, tuple[float, float]] = {
        kind: (base[kind], pruned[kind]) for kind in ("flops", "params")
    }
    targets = parse_targets(options.target)
    example, opaque = torch.zeros(1, *data.shape), options.opaque or ()
    graph = build_graph(models["baseline"].cpu(), example, opaque=opaque)
    if any(target.kind == "memory" for target in targets):
        pruned_graph = build_graph(models["pruned"].cpu(), example, opaque=opaque)
        amounts["memory"] = graph.memory(), pruned_graph.memory()
    if (times := _settled_times(run)) is not None:
        amounts[LATENCY] = times
    outcomes = [_outcome(target, amounts.get(target.kind)) for target in targets]
    return {
        "schema": 1,
        "target": outcomes[0],
        "targets": outcomes,
        "params_fraction": pruned["params"] / base["params"],
        "flops_fraction": pruned["flops"] / base["flops"],
        "accuracy_drop": base["accuracy"] - pruned["accuracy"],
        "models": records,
        "notes": [*run.notes(), *parts_kept(graph), *_missed(targets, outcomes), *data.notes],
    }


def _settled_times(run: Run) -> tuple[float, float] | None:
    """The baseline's and the pruned model's ms, from when the widths were settled."""
    for attempt in (run.times() or {}).get("attempts", ()):
        if attempt["chosen"]:
            return attempt["baseline_ms"], attempt["pruned_ms"]
    return None


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
        if target.kind == LATENCY or one["got_fraction"] is None:
            continue
        off = one["got_fraction"] / one["fraction"] - 1
        if off > TOLERANCE or (len(targets) == 1 and off < -TOLERANCE):
            found.append(f"{target} was asked, {one['got_fraction']:.3f} of the {target.kind} remains")
    return found


def _record(run: Run, data: DataBundle, options: TrainPruneOptions, which: str, model: nn.Module) -> Record:
    example = torch.zeros(1, *data.shape)
    return {
        "accuracy": training.accuracy(model.to(options.device), data.batches("test"), options.device),
        "test_images": data.sizes["test"],
        "params": sum(p.numel() for p in model.parameters()),
        "flops": flops_of(model.cpu(), example),
        "size_bytes": (run.path / f"{which}.safetensors").stat().st_size,
    }


def flops_of(model: nn.Module, example: torch.Tensor) -> int:
    """Multiply-adds of one forward pass, as fvcore counts them (batch included)."""
    import logging
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch's, at what fvcore does when it is imported
        from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(model.eval(), example)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    logging.getLogger("fvcore.nn.jit_analysis").setLevel(logging.ERROR)
    return int(analysis.total())
