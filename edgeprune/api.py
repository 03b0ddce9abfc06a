"""The library's main functions: trace, select, mask, compact; prune in one call; save and load without pickle."""

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn

from edgeprune import resources
from edgeprune.budget import Target, need_device, parse_targets, select
from edgeprune.errors import EdgePruneError, ModelError, PlanError, RunError, TargetError, one_line
from edgeprune.graph.arguments import (
    check_example,
    check_graph,
    check_model,
    check_plan,
    kind_of,
    names_of,
    options_of,
    parts_of,
    path_of,
)
from edgeprune.graph.classes import Graph, build_graph, shapes_of
from edgeprune.graph.gc_pause import gc_paused
from edgeprune.graph.groups import shares_of_groups
from edgeprune.graph.plan import Plan
from edgeprune.importance import Batches, score
from edgeprune.latency import BenchTarget
from edgeprune.options.checks import short
from edgeprune.processes.progress import ProgressCallback
from edgeprune.pruner.budgets import budget_for
from edgeprune.pruner.pruner import Pruner
from edgeprune.pruner.report import NetworkSize, Report, part_of
from edgeprune.recording.values import tensors_of
from edgeprune.records.trust import trusting
from edgeprune.reporting.console import progress_bars
from edgeprune.rewrite import compaction, masking
from edgeprune.rewrite.inplace import move_into
from edgeprune.runs.run import Run
from edgeprune.saving import networks as saving

# A safetensors file of such a name is read by nothing: loaders go by the name.
OTHER_FORMATS = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".onnx", ".h5")

__all__ = ["Pruned", "Pruner", "Report", "compact", "load", "mask", "prune", "save", "select", "trace"]

Inputs = Tensor | tuple[Any, ...] | dict[str, Any]


@dataclass(frozen=True, repr=False)
class Pruned:
    """A dense, smaller model with its report, its keep-plan and the graph of the original."""

    model: nn.Module
    report: Report
    plan: Plan
    graph: Graph

    def __repr__(self) -> str:
        return f"Pruned {type(self.model).__name__}: {self.report}"


def trace(
    model: nn.Module,
    example_input: Inputs,
    ignore: Iterable[str] = (),
    opaque: Iterable[str | type[nn.Module]] = (),
) -> Graph:
    """Find the coupled channels of ``model``; it is not changed.

    Args:
        model: any network.
        example_input: a tensor, or a tuple of forward's arguments: tensors, batch included, or lists, dicts and
            dataclasses of them. A detector's list of images is one argument: ``([image],)``.
        ignore: layers (or prefixes of their names) whose output channels are all kept.
        opaque: modules that are neither traced nor pruned, by name ("model.22"), class or class name: they may
            contain any code; their inputs, outputs and weights stay as they are.

    Raises:
        ModelError: ``model`` is not a module.
        TraceError: the model does not run on the example (the message names the line), or has no such modules.
    """
    check_model(model)
    check_example(example_input)
    return build_graph(model, example_input, names_of(ignore), parts_of(opaque))


def mask(model: nn.Module, graph: Graph, plan: Plan) -> nn.Module:
    """Return a copy of ``model`` in which the pruned channels are multiplied by zero wherever they are read.

    Args:
        model: the network that ``graph`` was traced from.
        graph: its coupled channels.
        plan: which of them are kept.

    Raises:
        PlanError: the plan was made for another model.
    """
    return masking.mask(_graph_for(model, graph, plan), plan)


def compact(model: nn.Module, graph: Graph, plan: Plan, *, in_place: bool = False) -> nn.Module:
    """Return the dense model without the pruned channels, which computes the same as `mask`.

    Args:
        model: the network that ``graph`` was traced from.
        graph: its coupled channels.
        plan: which of them are kept.
        in_place: prune ``model`` itself and return it, after a copy of it has been pruned and verified: modules and
            parameters keep their identity. Trace it again before pruning it again. Otherwise ``model`` is not changed.

    Raises:
        PlanError: the plan was made for another model, or some of its channels cannot be removed exactly; ``model``
            is unchanged then.
    """
    compacted = compaction.compact(_graph_for(model, graph, plan), plan)
    if not np.array_equal(compacted.plan.keep, plan.keep):
        raise PlanError(
            f"this plan cannot be carried out exactly ({compacted.plan.notes[-1]}): edgeprune.prune keeps those "
            "channels, or protect the layer with ignore="
        )
    return _placed(model, compacted.model) if in_place else compacted.model


def _placed(model: nn.Module, dense: nn.Module) -> nn.Module:
    move_into(model, dense)
    return model


def _graph_for(model: nn.Module, graph: Graph, plan: Plan) -> Graph:
    """Check the arguments, and return ``graph`` if it was traced from this model, otherwise a new graph."""
    check_model(model)
    check_graph(graph)
    check_plan(plan)
    if graph.model is not model:
        return build_graph(model, graph.inputs, graph.ignore, graph.chosen)
    if shapes_of(model) != graph.shapes:
        raise PlanError(f"this {type(model).__name__} has been cut since it was traced: trace it again")
    return graph


def prune(
    model: nn.Module,
    example_input: Inputs,
    *,
    criterion: str | Callable[..., NDArray[np.float64]] = "l1",
    batches: Batches | None = None,
    options: Mapping[str, Any] | None = None,
    target: str | Target = "flops=0.5",
    device: str | BenchTarget | None = None,
    align: int | None = None,
    floor: int = 2,
    ratios: Mapping[str, float] | None = None,
    ignore: Iterable[str] = (),
    opaque: Iterable[str | type[nn.Module]] = (),
    in_place: bool = False,
    plan_seconds: float | None = None,
    progress: ProgressCallback | None = None,
) -> Pruned:
    """Score, select and compact in one call; fine-tune the result as you would train any model.

    Args:
        model: any network; it is not changed unless ``in_place`` says so.
        example_input: as for `trace`.
        criterion: a name in `edgeprune.importance.CRITERIA`, or a function graph -> (classes,) scores.
        batches: an iterable of (x, y), or a function that returns one, for a criterion that uses data.
        options: options of the criterion by name, such as {"reduction": "max"}.
        target: the remaining cost: 'flops=0.5', 'params=0.3', 'memory=20MB', 'latency=8ms', 'energy=0.5', or
            several, separated by commas.
        device: the device to prune for: a profile's name, or an `edgeprune.latency.BenchTarget` for a remote device or
            another batch size; its latency table is built if it is missing. None for no device, or for "cpu" with a
            latency target.
        align: widths become multiples of this; see `select`. None for what suits the device, or most of them.
        floor: minimum number of channels of each layer.
        ratios: fraction of channels to keep for single groups, by name (see `edgeprune inspect`).
        ignore: layers whose output channels are all kept.
        opaque: modules that are neither traced nor pruned, as for `trace`.
        in_place: prune ``model`` itself; see `compact`.
        plan_seconds: of measuring and correcting plans for a device, once its latency table is there; then the best
            so far counts, and a note in the report says so. None for 120.
        progress: called with ``(done, total, text)`` while a device is measured: seconds of ``plan_seconds``, or
            layers of the table. None draws a bar on stderr where that is a terminal.

    Raises:
        TraceError: see `trace`.
        TargetError: see `edgeprune.importance.score` and `select`.
        PlanError: see `select`.
        LatencyError: the device's latency table cannot be used.
        BenchError: the device cannot be measured.
    """
    targets = parse_targets(target)
    graph = trace(model, example_input, ignore, opaque)
    if any(parameter.is_meta for parameter in model.parameters()):
        raise ModelError("the model is on the meta device and has no weights to score: load them first")
    scores = score(graph, criterion, batches=batches, **options_of(options))
    has_device = device is not None or need_device(targets)
    if ratios and has_device:
        raise TargetError("ratios of single layers and a device exclude each other: leave one out")
    with _shown(progress, has_device) as shown:
        budget = budget_for(
            graph, target, device, align=align, floor=floor, plan_seconds=plan_seconds, progress=shown
        )
        plan = budget.finalize(graph, scores) if has_device else budget.select(graph, scores, ratios)
    done = compaction.compact(graph, plan)
    report = _report(graph, done, targets)
    return Pruned(_placed(model, done.model) if in_place else done.model, report, done.plan, graph)


def _shown(progress: ProgressCallback | None, has_device: bool) -> AbstractContextManager[ProgressCallback]:
    """Return a context with the callback that reports progress: the caller's, or a bar on a terminal."""
    if progress is not None:
        return nullcontext(progress)
    return progress_bars(shown=has_device and sys.stderr is not None and sys.stderr.isatty())


def _report(graph: Graph, done: compaction.Compacted, targets: tuple[Target, ...]) -> Report:
    return NetworkSize.of(graph).report(
        done.model,
        graph.flops(done.plan.keep),
        target=",".join(map(str, targets)),
        got=_got(graph, done.plan, targets[0]),
        notes=(*done.plan.notes, *graph.notes),
        rewritten=done.rewritten,
    )


def _got(graph: Graph, plan: Plan, target: Target) -> float:
    """Return the remaining fraction of the first target's cost; of the FLOPs if it is measured on a device."""
    resource = resources.get("flops") if target.resource.needs_device else target.resource
    return part_of(resource.cost(graph, plan.keep), resource.cost(graph))


def save(model: nn.Module, path: str | Path) -> Path:
    """Write a pruned network as one .safetensors file: weights, keep-plans and, if it can be traced, its graph.

    Raises:
        ModelError: ``model`` was not pruned by edgeprune.
        EdgePruneError: the file cannot be written, or its name is that of another format.
    """
    check_model(model)
    place = path_of(path, "the model's file")
    if place.suffix.lower() in OTHER_FORMATS:
        raise EdgePruneError(
            f"{one_line(short(str(place)))} would be safetensors under another format's name: call it "
            f"{one_line(short(place.stem))}.safetensors, or use torch.save or edgeprune.export"
        )
    if place.is_dir():
        raise EdgePruneError(
            f"cannot write {place}: it is a folder; give a file name, such as net.safetensors"
        )
    try:
        return saving.save(model, place)
    except (OSError, SafetensorError) as error:
        raise EdgePruneError(f"cannot write {one_line(short(str(place)))}: {one_line(error)}") from error


def load(
    path: str | Path, which: str = "pruned", allow: tuple[str, ...] = (), into: nn.Module | None = None
) -> nn.Module:
    """Load the dense network of a run folder or of a file that `save` wrote; nothing is unpickled.

    Args:
        path: a run folder, or a .safetensors file of `save`.
        which: the model of a run: 'pruned' (the default), 'settled' (before fine-tuning) or 'baseline'.
        allow: packages besides torch and torchvision from which a file may import layers, or a run its model.
        into: for a file: a fresh instance of the network's class, which is pruned as the saved one was.

    Raises:
        RunError: there is no such file or run folder, or the folder is damaged.
        WeightsError: the file is damaged.
        ModelError: the model needs its class, or a package that is not allowed.
        PlanError: ``into`` is another network.
    """
    path = path_of(path, "a run folder, or a model's file")
    if into is not None and not isinstance(into, nn.Module):
        raise ModelError(
            f"an instance of the network's class is wanted as into, not {kind_of(into)}: into=MyNet()"
        )
    if path.is_file():
        return saving.load(path, allow, into)
    if into is not None and path.is_dir():
        raise ModelError(
            f"{path} is a run folder, which knows how its network is built: load it without into="
        )
    if not os.path.lexists(path):
        raise RunError(f"no such file or run folder: {str(path)[:80]}")
    with trusting(*allow):
        return Run.open(path).load(which)


@gc_paused
def describe(graph: Graph) -> dict[str, Any]:
    """Return the JSON of `edgeprune inspect`: groups of coupled channels, and protected channels with reasons.

    The ``params_share`` and ``flops_share`` of a group are what goes with all of its channels; see `shares_of_groups`.
    """
    alone = [[group] for group in graph.groups]
    params, flops = (
        shares_of_groups(graph.groups, graph.by_widths(kind), alone) for kind in ("params", "flops")
    )
    groups = [
        {
            "name": group.name,
            "classes": group.size,
            "producers": list(group.producers),
            "readers": list(group.consumers),
            "params_share": params[index],
            "flops_share": flops[index],
        }
        for index, group in enumerate(graph.groups)
    ]
    protected = [
        {"layers": list(p.layers), "channels": p.channels, "reason": p.reason, "where": p.where}
        for p in graph.protected
    ]
    return {
        "schema": 1,
        "fingerprint": graph.fingerprint,
        "inputs": [list(tensor.shape) for tensor in tensors_of(graph.inputs)],
        "params": graph.params(),
        "flops": graph.flops(),
        "classes": graph.classes,
        "groups": groups,
        "protected": protected,
    }
