"""Restore a saved network into a fresh instance of its class: prune it by the same plans, and load the weights."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgeprune.errors import EdgePruneError, ModelError, PlanError, WeightsError, one_line
from edgeprune.files.tensors import check_savable
from edgeprune.graph.classes import Graph, build_graph, shapes_of
from edgeprune.options.checks import short
from edgeprune.records.saved import SavedPlans, Step, StoredTensor
from edgeprune.rewrite.compaction import compact
from edgeprune.rewrite.history import example_of, history_of, plan_of
from edgeprune.rewrite.inplace import move_into

STATE = "_extra_state"
Table = dict[str, tuple[StoredTensor, Tensor]]


def tensor_table(model: nn.Module) -> Table:
    """Return every parameter, buffer and extra state by name, with its entry in the file.

    Raises:
        ModelError: one of them cannot be stored in a file of tensors.
    """
    table: Table = {}
    first: dict[int, str] = {}
    for name, kind, tensor in _named(model):
        if not isinstance(tensor, Tensor):
            raise ModelError(
                f"cannot save this model: {name} is of type {type(tensor).__name__}, and a file holds tensors alone"
            )
        check_savable(name, tensor)
        table[name] = StoredTensor(first.setdefault(id(tensor), name), kind), tensor
    return table


def _named(model: nn.Module) -> Iterator[tuple[str, Any, Any]]:
    for path, module in model.named_modules(remove_duplicate=False):
        start = f"{path}." if path else ""
        for leaf, parameter in module._parameters.items():
            if parameter is not None:
                yield start + leaf, "parameter" if parameter.requires_grad else "frozen", parameter
        for leaf, buffer in module._buffers.items():
            if buffer is not None:
                passing = leaf in module._non_persistent_buffers_set
                yield start + leaf, "passing" if passing else "buffer", buffer
        if type(module).get_extra_state is not nn.Module.get_extra_state:
            yield start + STATE, "state", module.get_extra_state()


def restore(saved: SavedPlans, tensors: dict[str, Tensor], into: nn.Module, path: Path) -> nn.Module:
    """Prune ``into`` by the plans of a file and load the file's tensors; unless everything fits, it stays unchanged.

    Args:
        saved: the file's plans and table of tensors.
        tensors: by their names in the file.
        into: a fresh instance of the network's class.
        path: the file, for messages.

    Returns:
        ``into``.

    Raises:
        ModelError: ``into`` was pruned already, or is on the meta device.
        WeightsError: ``into`` is another network; the first layer that differs is named.
        PlanError: the plans do not fit ``into``.
    """
    _check_fresh(saved, into, path)
    model = into
    for number, step in enumerate(saved.steps):
        model = _pruned(model, step, f"{path}, plan {number + 1}")
    table = tensor_table(model)
    _check_table(saved, tensors, table, f"{path} does not fit this {type(into).__name__}")
    if model is not into:
        move_into(into, model)
        table = tensor_table(into)
    _fill(into, saved, tensors, table)
    return into.eval()


# --- checks before pruning ---------------------------------------------------------------------------


def _check_fresh(saved: SavedPlans, into: nn.Module, path: Path) -> None:
    kind = type(into).__name__
    if history_of(into) is not None:
        raise ModelError(f"this {kind} is pruned already: give load a fresh instance, into={kind}(...)")
    own = shapes_of(into)
    fault = next(_other_shapes(saved.shapes, own), None)
    if fault is not None:
        raise WeightsError(
            f"{path} was saved from another network ({_shown(saved.name)}) than this {kind}: {fault}"
        )
    if any(tensor.is_meta for tensor in into.parameters()):
        raise ModelError(f"this {kind} is on the meta device: make it where its weights have values")


def _other_shapes(saved: dict[str, list[int]], own: dict[str, tuple[int, ...]]) -> Iterator[str]:
    for name in sorted(saved.keys() - own.keys()):
        yield f"it had {_shown(name)}, which this one does not have"
    for name in sorted(own.keys() - saved.keys()):
        yield f"it did not have {name}"
    for name, shape in own.items():
        if tuple(saved[name]) != shape:
            yield f"{name} had shape {tuple(saved[name])} before it was pruned, this one's has {shape}"


def _shown(name: str) -> str:
    return ascii(short(name))[1:-1]


# --- the plans ---------------------------------------------------------------------------------------


def _pruned(model: nn.Module, step: Step, where: str) -> nn.Module:
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
    try:
        graph = build_graph(model, example_of(step, like), tuple(step.ignore), tuple(step.opaque))
    except EdgePruneError as error:
        raise type(error)(f"{where}: {one_line(error)}") from error
    kind = type(model).__name__
    if [(g.name, g.size) for g in step.plan.groups] != [(g.name, g.size) for g in graph.groups]:
        raise PlanError(f"{where} was made for another network than this {kind}: {_difference(step, graph)}")
    try:
        plan = plan_of(step, graph)
    except PlanError as error:
        raise PlanError(
            f"{where} was made for another network than this {kind}: its layers are connected in another way"
        ) from error
    compaction = compact(graph, plan)
    if not np.array_equal(compaction.plan.keep, plan.keep):
        raise PlanError(f"{where} cannot be carried out on this {kind}: {compaction.plan.notes[-1]}")
    return compaction.model


def _difference(step: Step, graph: Graph) -> str:
    """Return the first group of channels in which a plan and a graph differ; there is one."""
    own = {group.name: group.size for group in graph.groups}
    saved = {group.name: group.size for group in step.plan.groups}
    for name in sorted(saved.keys() | own.keys()):
        if saved.get(name) != own.get(name):
            saved_size, own_size = saved.get(name, "no"), own.get(name, "no")
            return f"there {_shown(name)} has {saved_size} channels to choose from, here {own_size}"
    return "its groups of channels come in another order"


# --- the tensors -------------------------------------------------------------------------------------


def _check_table(saved: SavedPlans, tensors: dict[str, Tensor], table: Table, start: str) -> None:
    fault = next(_misfits(saved, tensors, table), None)
    if fault is not None:
        raise WeightsError(f"{start}: {fault}")


def _misfits(saved: SavedPlans, tensors: dict[str, Tensor], table: Table) -> Iterator[str]:
    for name, entry in saved.tensors.items():
        if entry.stored not in tensors:
            yield f"it lacks the values of {_shown(name)}"
        elif name not in table and entry.kind != "passing":
            yield f"it has {_shown(name)}, which the pruned network does not"
    for name, (own, tensor) in table.items():
        if own.kind == "passing":
            continue
        if name not in saved.tensors:
            yield f"it lacks {name}"
        elif _group(saved.tensors[name].kind) != _group(own.kind):
            yield f"{name} is a {own.kind} here, and a {saved.tensors[name].kind} there"
        else:
            yield from _misfit(name, tensors[saved.tensors[name].stored], tensor, own.kind)
    yield from _other_ties(saved, table)


def _misfit(name: str, value: Tensor, own: Tensor, kind: str) -> Iterator[str]:
    if value.shape != own.shape and kind != "state":
        yield f"{name} has shape {tuple(value.shape)}, and {tuple(own.shape)} once this network is pruned"
    elif _family(value.dtype) != _family(own.dtype):
        yield f"{name} is of type {value.dtype}, and {own.dtype} in this network"


def _other_ties(saved: SavedPlans, table: Table) -> Iterator[str]:
    """Yield tensors that are tied in the file but not here, or the other way round."""
    for name, (own, _) in table.items():
        entry = saved.tensors.get(name)
        if entry is None or own.kind in ("passing", "state") or entry.stored == own.stored:
            continue
        if own.stored == name:
            yield f"{name} is one tensor with {_shown(entry.stored)} there, and one of its own here"
        yield f"{name} is one tensor with {own.stored} here, and another there"


def _group(kind: str) -> str:
    return {"frozen": "parameter", "passing": "buffer"}.get(kind, kind)


def _family(dtype: torch.dtype) -> str:
    """Return a name shared by dtypes whose values may replace each other, such as half and single precision."""
    return "floating" if dtype.is_floating_point else "complex" if dtype.is_complex else str(dtype)


def _fill(model: nn.Module, saved: SavedPlans, tensors: dict[str, Tensor], table: Table) -> None:
    for name, (own, tensor) in table.items():
        entry = saved.tensors.get(name)
        if entry is None or entry.stored not in tensors:
            continue
        value = tensors[entry.stored]
        path, _, leaf = name.rpartition(".")
        module = model.get_submodule(path)
        if own.kind == "state":
            module.set_extra_state(value)
        elif isinstance(tensor, nn.Parameter):
            tensor.data = value.to(tensor.device)
            tensor.requires_grad_(entry.kind != "frozen" and _family(value.dtype) != str(value.dtype))
        elif own.kind != "passing" or (value.shape, value.dtype) == (tensor.shape, tensor.dtype):
            _put_buffer(module, leaf, tensor, value)


def _put_buffer(module: nn.Module, leaf: str, own: Tensor, value: Tensor) -> None:
    if isinstance(module, torch.jit.ScriptModule):
        with torch.no_grad():  # it may be a parameter, which is not an nn.Parameter in a ScriptModule
            own.copy_(value)
    else:
        module._buffers[leaf] = value.to(own.device)
