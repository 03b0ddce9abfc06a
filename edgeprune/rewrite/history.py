"""The prunings of a network, noted on the network itself, so that it can be saved and pruned again."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgeprune.errors import ModelError
from edgeprune.graph.classes import Graph
from edgeprune.graph.plan import Plan
from edgeprune.recording.opaque import CHOSEN
from edgeprune.records.runs import KeepPlan, KeptGroup
from edgeprune.records.saved import (
    DTYPES,
    DictInput,
    Input,
    ListInput,
    ObjectInput,
    PlainInput,
    SavedGroup,
    SavedPlan,
    Step,
    TensorInput,
    is_key,
)

HISTORY = "edgeprune_history"


@dataclass
class History:
    """The keep-plans that were carried out, in order; ``shapes`` are those of the unpruned network's tensors.

    ``closed`` names the parts that were kept whole and whose code may be any, so that no data can stand for it.
    """

    shapes: dict[str, tuple[int, ...]]
    steps: list[Step]
    closed: tuple[str, ...] = ()


def remember(model: nn.Module, graph: Graph, plan: Plan) -> None:
    """Note on ``model`` that it was pruned by ``plan``.

    Args:
        model: the pruned network.
        graph: the graph of the network that was pruned, with its own history.
        plan: what was kept.
    """
    earlier = history_of(graph.model)
    record = plan.record(graph)
    groups = [SavedGroup(group.name, group.size or 0, [*group.kept]) for group in record.groups]
    saved = SavedPlan(record.fingerprint, groups, record.bypass)
    dtype = _name_of(next((p.dtype for p in model.parameters()), torch.float32))
    inputs = [_described(item) for item in graph.inputs]
    step = Step(inputs, dtype, [*graph.ignore], saved, [*graph.chosen])
    shapes = graph.shapes if earlier is None else earlier.shapes
    closed = {*(earlier.closed if earlier else ()), *(p for p in graph.parts if not _is_open(graph, p))}
    steps = [*(earlier.steps if earlier else ()), step]
    vars(model)[HISTORY] = History(shapes, steps, tuple(sorted(closed)))


def _is_open(graph: Graph, path: str) -> bool:
    """Tell whether a part that is kept whole consists of torch's own layers, whose code is known."""
    if graph.parts[path].reason != CHOSEN:
        return False
    return all(
        type(module).__module__.startswith("torch.nn.modules.") and not has_hooks(module)
        for module in graph.model.get_submodule(path).modules()
    )


def has_hooks(module: nn.Module) -> bool:
    """Return whether a module has forward hooks, which no file holds."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def history_of(model: nn.Module) -> History | None:
    """Return what was done to ``model``; None where edgeprune did nothing."""
    history = vars(model).get(HISTORY)
    return history if isinstance(history, History) else None


def example_of(step: Step, like: Tensor) -> tuple[Any, ...]:
    """Return inputs of the example's shapes: random numbers, zeros for integers, on the device of ``like``.

    What was of the network's own type is of ``like``'s.

    Raises:
        ModelError: the example had an object that was not kept.
    """
    return tuple(_made(value, step, like) for value in step.inputs)


def plan_of(step: Step, graph: Graph) -> Plan:
    """Return the keep-plan of a step for ``graph``.

    Raises:
        PlanError: it was made for another network.
    """
    groups = [KeptGroup(name=g.name, size=g.size, kept=(*g.kept,)) for g in step.plan.groups]
    return Plan.of_record(graph, KeepPlan(step.plan.fingerprint, (*groups,), bypass=step.plan.bypass))


def _described(value: Any) -> Input:
    dtype = _name_of(value.dtype) if isinstance(value, Tensor) else ""
    if dtype in DTYPES:
        return TensorInput(list(value.shape), dtype)
    if type(value) in (tuple, list):
        return ListInput([_described(item) for item in value], isinstance(value, tuple))
    if type(value) is dict and all(is_key(key) for key in value):
        return DictInput({key: _described(item) for key, item in value.items()})
    plain = isinstance(value, (int, str, bool, type(None)))
    if plain or (isinstance(value, float) and math.isfinite(value)):
        return PlainInput(value)
    return ObjectInput(type(value).__name__[:256])


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _made(value: Input, step: Step, like: Tensor) -> Any:
    if isinstance(value, TensorInput):
        dtype: torch.dtype = like.dtype if value.dtype == step.dtype else getattr(torch, value.dtype)
        return _numbers(value.shape, dtype).to(like.device)
    if isinstance(value, ListInput):
        items = [_made(item, step, like) for item in value.items]
        return tuple(items) if value.fixed else items
    if isinstance(value, DictInput):
        return {key: _made(item, step, like) for key, item in value.items.items()}
    if isinstance(value, PlainInput):
        return value.value
    raise ModelError(f"its example has a {value.name}, which no file can hold")


def _numbers(shape: list[int], dtype: torch.dtype) -> Tensor:
    if not (dtype.is_floating_point or dtype.is_complex):
        return torch.zeros(shape, dtype=dtype)
    generator = torch.Generator().manual_seed(0)
    exact = dtype if dtype.is_complex else None
    return torch.randn(shape, generator=generator, dtype=exact).to(dtype)
