"""Arguments of the library's verbs, checked by their kind before anything is done with them."""

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from edgeprune.errors import EdgePruneError, ModelError, PlanError, TraceError, one_line
from edgeprune.graph.classes import Graph
from edgeprune.graph.plan import Plan
from edgeprune.options.checks import short
from edgeprune.recording.values import tensors_of


def check_model(model: Any) -> None:
    """Refuse what is not a module, or not all of one; raises ModelError."""
    if isinstance(model, type):
        raise ModelError(f"{model.__name__} is a class, not a model: make one, as in {model.__name__}()")
    if not isinstance(model, nn.Module):
        raise ModelError(f"a torch.nn.Module is wanted as model, not {kind_of(model)}")
    masked = getattr(sys.modules.get("edgeprune.learned.pruning_layer"), "PruningLayer", ())
    if any(isinstance(part, masked) for part in model.modules()):
        raise ModelError("a Pruner is at work on this model: call its finish() first")
    check_unsharded(model)


def check_unsharded(model: nn.Module) -> None:
    """Raise ModelError if FSDP shards a network's parameters: scores and cuts need tensors with all channels."""
    sharded = getattr(sys.modules.get("torch.distributed.tensor"), "DTensor", ())
    wrapper = getattr(sys.modules.get("torch.distributed.fsdp"), "FullyShardedDataParallel", ())
    if any(isinstance(p, sharded) for p in model.parameters()) or any(
        isinstance(part, wrapper) for part in model.modules()
    ):
        raise ModelError(
            "the model's parameters are sharded over processes (FSDP): train with DistributedDataParallel while "
            "pruning, or prune by edgeprune.prune first and shard the smaller model for fine-tuning"
        )


def check_example(example: Any) -> None:
    """Refuse what holds no tensor with at least one example in it; raises TraceError.

    Args:
        example: a tensor, or a tuple with what each argument of forward is given: tensors, or lists, dicts and
            dataclasses of them.
    """
    arguments = example if isinstance(example, tuple | list) else (example,)
    if not arguments:
        raise TraceError("the example input is an empty tuple: give a tensor for each argument of forward")
    if not tensors_of(arguments):
        raise TraceError(
            f"a tensor, or a tuple of them, is wanted as example input, not {kind_of(arguments[0])}"
        )
    for tensor in arguments:
        if isinstance(tensor, Tensor) and tensor.numel() == 0:
            raise TraceError(
                f"the example input of shape {tuple(tensor.shape)} has no values: give at least one example, "
                "as in torch.zeros(1, 3, 224, 224)"
            )


def check_graph(graph: Any) -> None:
    """Refuse what `edgeprune.trace` did not give; raises PlanError."""
    if not isinstance(graph, Graph):
        raise PlanError(f"a graph is wanted, as edgeprune.trace gives it, not {kind_of(graph)}")


def check_plan(plan: Any) -> None:
    """Refuse what is not a keep-plan; raises PlanError."""
    if not isinstance(plan, Plan):
        raise PlanError(f"a Plan is wanted, as edgeprune.select gives it, not {kind_of(plan)}")


def names_of(ignore: Any) -> tuple[str, ...]:
    """Return the names of an ignore list; raises TraceError for anything else."""
    if isinstance(ignore, str) or not isinstance(ignore, Iterable):
        raise TraceError(f"ignore is a list of layers' names, not {kind_of(ignore)}: write ignore=['layer1']")
    names = tuple(ignore)
    for name in names:
        if not isinstance(name, str):
            raise TraceError(f"ignore is a list of layers' names, but {kind_of(name)} is in it")
    return names


def parts_of(opaque: Any) -> tuple[str | type[nn.Module], ...]:
    """Return what is to be kept whole, names and classes; raises TraceError for anything else."""
    if isinstance(opaque, str | type) or not isinstance(opaque, Iterable):
        raise TraceError(
            f"opaque is a list of modules' names and classes, not {kind_of(opaque)}: write opaque=['model.22']"
        )
    parts = tuple(opaque)
    for part in parts:
        is_class = isinstance(part, type) and issubclass(part, nn.Module)
        if not is_class and not (isinstance(part, str) and part):
            raise TraceError(f"opaque is a list of modules' names and classes, but {kind_of(part)} is in it")
    return parts


def options_of(options: Any) -> dict[str, Any]:
    """Return a criterion's options by name; raises PlanError for anything else."""
    if options is None:
        return {}
    if not isinstance(options, Mapping) or not all(isinstance(name, str) for name in options):
        raise PlanError(f"options are wanted by name, as in {{'reduction': 'max'}}, not {kind_of(options)}")
    return dict(options)


def path_of(path: Any, purpose: str) -> Path:
    """Return a path; raises EdgePruneError for what cannot be one."""
    if not isinstance(path, str | os.PathLike) or not str(path):
        raise EdgePruneError(f"a path is wanted for {purpose}, not {kind_of(path)}")
    try:
        Path(path).exists()
        os.fspath(path).encode() if isinstance(path, str) else None
        if "\0" in str(path):
            raise ValueError("it has a NUL character in it")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise EdgePruneError(
            f"{one_line(short(str(path)))} cannot be a path for {purpose}: {reason}"
        ) from error
    return Path(path)


def kind_of(value: Any) -> str:
    """Return what a value is, for a message: 'None', 'an int: 3', 'a dict'."""
    if value is None:
        return "None"
    name = type(value).__name__
    article = "an" if name[:1].lower() in "aeiou" else "a"
    shown = f": {one_line(short(value))!r}" if isinstance(value, str) else f": {short(value)}"
    return f"{article} {name}" + (shown if isinstance(value, str | int | float) else "")
