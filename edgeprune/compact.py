"""Apply a keep-plan: a dense model that computes what the masked one computes, or the masked one itself."""

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.fx as fx
from torch import Tensor, nn

from edgeprune.graph.classes import Bools, Graph, Ints
from edgeprune.graph.ordering import Orders, channel_orders
from edgeprune.graph.rewrite import Immovable, Rewriter
from edgeprune.plan import Plan

_META = ("edgeprune_value",)


@dataclass(frozen=True)
class Compacted:
    """The dense model, and the plan as it was carried out (a note for each channel set left alone)."""

    model: fx.GraphModule
    plan: Plan


def compact(graph: Graph, plan: Plan) -> Compacted:
    """Cut the dropped channels out of a copy of ``graph``'s model.

    The result computes what `mask` computes, to float rounding, with fewer channels. Where a channel
    cannot be moved out exactly, it stays, and the returned plan says so.

    Raises:
        PlanError: ``plan`` was made for another model.
    """
    plan.check(graph)
    while True:
        try:
            return Compacted(_compact_once(graph, plan.keep), plan)
        except Immovable as stuck:
            plan = _without(graph, plan, stuck)


def _without(graph: Graph, plan: Plan, stuck: Immovable) -> Plan:
    keep = plan.keep.copy()
    if keep[stuck.classes].all():
        raise AssertionError(f"compaction is stuck at {stuck.where} with nothing left to give back") from stuck
    keep[stuck.classes] = True
    back = int(keep.sum() - plan.keep.sum())
    note = f"left alone: {back} channels at {stuck.where}, which cannot be moved out exactly"
    return replace(plan, keep=keep, notes=(*plan.notes, note))


def _compact_once(graph: Graph, keep: Bools) -> fx.GraphModule:
    orders = channel_orders(graph, keep) if graph.flow.remaps else {}
    module = copy_module(graph.module)
    _cut_tensors(graph, module, keep, orders)
    _set_sizes(graph, module)
    return Rewriter(graph, module, keep, orders).run()


def copy_module(module: fx.GraphModule) -> fx.GraphModule:
    """A deep copy without the example values that tracing left on the nodes."""
    stripped = {node: node.meta for node in module.graph.nodes}
    for node in module.graph.nodes:
        node.meta = {}
    try:
        return copy.deepcopy(module)
    finally:
        for node, meta in stripped.items():
            node.meta = meta


def kept_index(vector: Ints, keep: Bools, orders: Orders) -> Tensor:
    """Indices along an axis that stay, in the order they are written."""
    order = orders.get(vector.tobytes())
    return torch.from_numpy(np.flatnonzero((vector < 0) | keep[vector]) if order is None else order)


def _cut_tensors(graph: Graph, module: fx.GraphModule, keep: Bools, orders: Orders) -> None:
    axes: dict[str, dict[int, Ints]] = {}
    for (name, axis), vector in graph.slots.items():
        axes.setdefault(name, {})[axis] = vector
    for name, vectors in axes.items():
        owner, leaf = _owner(module, name)
        old = getattr(owner, leaf)
        cut = old.detach()
        for axis, vector in vectors.items():
            index = kept_index(vector, keep, orders)
            if len(index) != cut.shape[axis] or name:
                cut = cut.index_select(axis, index.to(cut.device))
        fresh = nn.Parameter(cut.clone(), old.requires_grad) if isinstance(old, nn.Parameter) else cut.clone()
        for alias in graph.flow.aliases.get(name, [name]):
            place, last = _owner(module, alias)
            setattr(place, last, fresh)


def _owner(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, leaf = name.rpartition(".")
    return module.get_submodule(path), leaf


def _set_sizes(graph: Graph, module: fx.GraphModule) -> None:
    """Make each layer's own numbers (channels, groups, features) agree with its cut tensors."""
    seen: set[int] = set()
    for name, layer in module.named_modules():
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        if isinstance(layer, nn.modules.conv._ConvNd):
            _size_convolution(layer)
        elif isinstance(layer, nn.Linear):
            layer.out_features, layer.in_features = layer.weight.shape
        elif isinstance(layer, nn.PReLU):
            layer.num_parameters = layer.weight.numel()
        elif isinstance(layer, nn.modules.batchnorm._NormBase):
            tensor = layer.weight if layer.weight is not None else layer.running_mean
            layer.num_features = layer.num_features if tensor is None else len(tensor)
        elif isinstance(layer, nn.GroupNorm) and layer.weight is not None:
            size = layer.num_channels // layer.num_groups
            layer.num_channels = len(layer.weight)
            layer.num_groups = max(1, layer.num_channels // size)


def _size_convolution(layer: nn.modules.conv._ConvNd) -> None:
    rows, columns = layer.weight.shape[:2]
    if layer.groups > 1 and layer.groups == layer.in_channels:
        multiplier = layer.out_channels // layer.in_channels
        layer.groups = rows if layer.transposed else rows // max(1, multiplier)
    layer.in_channels = rows if layer.transposed else columns * layer.groups
    layer.out_channels = columns * layer.groups if layer.transposed else rows


def mask(graph: Graph, plan: Plan) -> fx.GraphModule:
    """A copy of the model in which dropped channels are multiplied by zero wherever they are read.

    This is what `compact` must agree with; it has the sizes of the original.

    Raises:
        PlanError: ``plan`` was made for another model.
    """
    plan.check(graph)
    module = copy_module(graph.module)
    new = dict(zip(graph.module.graph.nodes, module.graph.nodes, strict=True))
    like = next(module.parameters(), torch.zeros(0))
    for number, reader in enumerate(graph.flow.readers):
        classes = graph.classes_of(reader.labels)
        alive = torch.from_numpy((classes < 0) | plan.keep[classes])
        if bool(alive.all()):
            continue
        node = new[reader.node]
        source = node.all_input_nodes[0]
        view = [1] * graph.flow.values[reader.node.all_input_nodes[0]].dim()
        view[reader.axis] = -1
        name = f"edgeprune_mask_{number}"
        module.register_buffer(name, alive.view(view).to(like))
        with module.graph.inserting_before(node):
            masked = module.graph.call_function(torch.mul, (source, module.graph.get_attr(name)))
        node.replace_input_with(source, masked)
    module.recompile()
    return module
