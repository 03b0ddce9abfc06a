"""Apply a keep-plan: a dense model that computes what the masked one computes, or the masked one itself."""

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.fx as fx
from torch import Tensor, nn

from edgeprune.graph.classes import Bools, Graph, Ints
from edgeprune.graph.copying import assemble, copy_graph, copy_layers, copy_module
from edgeprune.graph.fate import fate_of
from edgeprune.graph.heap import collecting_later
from edgeprune.graph.ordering import Orders, channel_orders
from edgeprune.graph.rewrite import Immovable, Rewriter, left_out
from edgeprune.plan import Plan

__all__ = ["Compacted", "compact", "copy_module", "mask"]


@dataclass(frozen=True)
class Compacted:
    """The dense model, and the plan as it was carried out (a note for each channel set left alone)."""

    model: fx.GraphModule
    plan: Plan


@collecting_later
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
            return Compacted(_compact_once(graph, plan), plan)
        except Immovable as stuck:
            plan = _without(plan, stuck)


def _without(plan: Plan, stuck: Immovable) -> Plan:
    keep = plan.keep.copy()
    if keep[stuck.classes].all():
        raise AssertionError(f"compaction is stuck at {stuck} with nothing left to give back") from stuck
    keep[stuck.classes] = True
    back = int(keep.sum() - plan.keep.sum())
    note = f"left alone: {back} channel{'s' * (back > 1)} at {stuck.where}, because {stuck.why}"
    return replace(plan, keep=keep, notes=(*plan.notes, note))


def _compact_once(graph: Graph, plan: Plan) -> fx.GraphModule:
    keep = plan.keep
    orders = channel_orders(graph, keep) if graph.flow.remaps else {}
    layers = copy_layers(graph.module, _cut_tensors(graph, keep, orders))
    _set_sizes(layers)
    return Rewriter(graph, layers, keep, orders, bypass=plan.bypass).run()


def _cut_tensors(graph: Graph, keep: Bools, orders: Orders) -> dict[Tensor, Tensor]:
    """The surviving part of every tensor that loses or permutes channels."""
    axes: dict[str, dict[int, Ints]] = {}
    for (name, axis), vector in graph.slots.items():
        axes.setdefault(name, {})[axis] = vector
    alive, found = np.append(keep, True), {}  # class -1 stays
    tensors = dict([*graph.module.named_parameters(), *graph.module.named_buffers()])
    for name, vectors in axes.items():
        old = cut = tensors[name]
        for axis, vector in sorted(vectors.items()):  # rows first: they are copied whole
            order = orders.get(vector.tobytes()) if orders else None
            kept = np.flatnonzero(alive[vector]) if order is None else order
            if len(kept) != len(vector) or order is not None:
                cut = cut.detach().index_select(axis, torch.from_numpy(kept).to(cut.device))
        if cut is not old:
            found[old] = nn.Parameter(cut, old.requires_grad) if isinstance(old, nn.Parameter) else cut
    return found


def _set_sizes(module: nn.Module) -> None:
    """Make each layer's own numbers (channels, groups, features) agree with its cut tensors."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.conv._ConvNd):
            _size_convolution(layer)
        elif isinstance(layer, nn.Linear):
            layer.out_features, layer.in_features = layer.weight.shape
        elif isinstance(layer, nn.PReLU):
            layer.num_parameters = layer.weight.numel()
        elif isinstance(layer, nn.modules.batchnorm._NormBase):
            tensor = layer.weight if layer.weight is not None else layer.running_mean
            layer.num_features = layer.num_features if tensor is None else len(tensor)


def _size_convolution(layer: nn.modules.conv._ConvNd) -> None:
    rows, columns = layer.weight.shape[:2]
    if layer.groups > 1 and layer.groups == layer.in_channels:
        multiplier = layer.out_channels // layer.in_channels
        layer.groups = rows if layer.transposed else rows // max(1, multiplier)
    layer.in_channels = rows if layer.transposed else columns * layer.groups
    layer.out_channels = columns * layer.groups if layer.transposed else rows


def mask(graph: Graph, plan: Plan) -> fx.GraphModule:
    """A copy of the model in which dropped channels are multiplied by zero wherever they are read.

    With ``plan.bypass`` so is what emptied branches add. This is what `compact` must agree with; it has the
    sizes of the original.

    Raises:
        PlanError: ``plan`` was made for another model.
    """
    plan.check(graph)
    layers, (copied, new) = copy_layers(graph.module, {}), copy_graph(graph.module.graph)
    like = next(layers.parameters(), torch.zeros(0))
    for number, reader in enumerate(graph.flow.readers):
        classes = graph.classes_of(reader.labels)
        alive = torch.from_numpy(np.append(plan.keep, True)[classes])  # class -1 stays
        if bool(alive.all()):
            continue
        node, source = new[reader.node], new[reader.source]
        view = [1] * graph.flow.values[reader.source].dim()
        view[reader.axis] = -1
        name = f"edgeprune_mask_{number}"
        layers.register_buffer(name, alive.view(view).to(like))
        with copied.inserting_before(node):
            masked = copied.call_function(torch.mul, (source, copied.get_attr(name)))
        node.replace_input_with(source, masked)
    silent = left_out(graph, fate_of(graph.flow, graph.class_of, plan.keep)) if plan.bypass else ()
    for node, operand in silent:
        with copied.inserting_before(new[node]):
            zeros = copied.call_function(torch.zeros_like, (new[operand],))
        new[node].replace_input_with(new[operand], zeros)
    return assemble(layers, copied, graph.module)
