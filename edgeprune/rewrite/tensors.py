"""Cut the tensors of a network, and make its layers' own numbers agree with them."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgeprune.graph.classes import Bools, Graph, Ints
from edgeprune.graph.flow import Flow
from edgeprune.graph.ops import op_name, source_of
from edgeprune.graph.ordering import Orders
from edgeprune.graph.survivors import Survivors
from edgeprune.recording.opaque import Parts, modules_in
from edgeprune.recording.record import CALL
from edgeprune.recording.untouched import untouched
from edgeprune.recording.walks import named_modules, named_tensors
from edgeprune.rewrite.duplicate import duplicate


def kept_indices(graph: Graph, keep: Bools, orders: Orders) -> dict[str, dict[int, Ints]]:
    """Return, for each tensor that changes, the kept indices along each axis, in the order they are written.

    Args:
        graph: the network's graph.
        keep: flag of each class.
        orders: orders of class vectors that differ from the plain one (see `graph.ordering`).
    """
    alive = np.append(keep, True)  # class -1 stays
    kept_by_axis: dict[str, dict[int, Ints]] = {}
    for (name, axis), vector in graph.param_axes.items():
        order = orders.get(vector.tobytes()) if orders else None
        kept = np.flatnonzero(alive[vector]) if order is None else order
        if len(kept) != len(vector) or order is not None:
            kept_by_axis.setdefault(name, {})[axis] = kept
    return kept_by_axis


def cut(tensor: Tensor, axes: dict[int, Ints]) -> Tensor:
    """Return the kept part of a tensor, in the same memory format."""
    part = tensor.detach()
    for axis, kept in sorted(axes.items()):  # rows first: they are copied whole
        part = part.index_select(axis, torch.from_numpy(kept).to(part.device))
    if (
        tensor.dim() == 4
        and tensor.is_contiguous(memory_format=torch.channels_last)
        and not tensor.is_contiguous()
    ):
        part = part.contiguous(memory_format=torch.channels_last)
    return part


def cut_copy(graph: Graph, keep: Bools, orders: Orders) -> nn.Module:
    """Copy the network with its parameters and buffers cut, and its layers' numbers made to agree with them.

    Args:
        graph: of the original.
        keep: which classes stay.
        orders: in which order channels are written.
    """
    model = graph.model
    tensors = named_tensors(model)
    cut_ones: dict[int, Tensor] = {}
    for name, axes in kept_indices(graph, keep, orders).items():
        old = tensors[name]
        part = cut(old, axes)
        cut_ones[id(old)] = nn.Parameter(part, old.requires_grad) if isinstance(old, nn.Parameter) else part
    small = duplicate(model, cut_ones)
    set_sizes(small, channels_at_layers(graph.flows, Survivors(graph, keep, orders)), graph.parts)
    return small


def put(model: nn.Module, name: str, tensor: Tensor) -> None:
    """Make ``tensor`` the parameter or buffer of that name.

    Args:
        model: the network that is changed.
        name: full name of the parameter or buffer.
        tensor: its new value.
    """
    path, _, leaf = name.rpartition(".")
    owner = model.get_submodule(path)
    tensors: dict[str, Any] = owner._parameters if leaf in owner._parameters else owner._buffers
    tensors[leaf] = tensor


def set_sizes(
    module: nn.Module, widths: dict[str, tuple[int, int]] | None = None, parts: Parts | None = None
) -> None:
    """Make each layer's own numbers (channels, groups, features) agree with its cut tensors.

    Args:
        module: the network.
        widths: (before, after) of the channels that reach layers which have no tensors to tell it by.
        parts: modules that are left as they are.
    """
    kept = modules_in(module, parts or {})
    layers = named_modules(module)
    shapes = _weight_shapes(layers, kept)
    for name, layer in layers:
        if id(layer) in kept:
            continue
        before, after = (widths or {}).get(name, (None, None))
        weight = shapes.get(name)
        if weight is not None and isinstance(layer, nn.modules.conv._ConvNd):
            _size_convolution(layer, weight)
        elif weight is not None and isinstance(layer, nn.Linear):
            layer.out_features, layer.in_features = weight
        elif isinstance(layer, nn.PReLU):
            layer.num_parameters = layer.weight.numel()
        elif isinstance(layer, nn.GroupNorm):
            after = len(layer.weight) if layer.weight is not None else after
            if after is not None and after != layer.num_channels:
                layer.num_groups = after * layer.num_groups // layer.num_channels
                layer.num_channels = after
        elif isinstance(layer, nn.LayerNorm):
            if layer.weight is not None:
                layer.normalized_shape = tuple(layer.weight.shape)
        elif isinstance(layer, nn.modules.batchnorm._NormBase):
            tensor = layer.weight if layer.weight is not None else layer.running_mean
            if tensor is not None:
                layer.num_features = len(tensor)
            elif after is not None:
                layer.num_features = after


def _weight_shapes(layers: list[tuple[str, nn.Module]], kept: Collection[int]) -> dict[str, torch.Size]:
    """Return the weight shape of each convolution and linear layer, also of computed weights; not of ``kept`` ones."""
    shapes = {}
    for name, layer in layers:
        if id(layer) in kept or not isinstance(layer, (nn.modules.conv._ConvNd, nn.Linear)):
            continue
        _refresh(layer)
        if not nn.utils.parametrize.is_parametrized(layer):
            if isinstance(getattr(layer, "weight", None), Tensor):
                shapes[name] = layer.weight.shape
            continue
        with untouched(layer), torch.no_grad():  # computing some weights draws numbers or moves buffers
            shapes[name] = layer.eval().weight.shape
    return shapes


def _refresh(layer: nn.Module) -> None:
    """Compute anew the weight that hooks of torch's (pruning, weight_norm) keep as an attribute."""
    hooks = [h for h in layer._forward_pre_hooks.values() if type(h).__module__.startswith("torch.nn.utils.")]
    stale = [name for name in ("weight", "bias") if isinstance(vars(layer).get(name), Tensor)]
    if not hooks or not stale:
        return
    with untouched_but(layer, stale), torch.no_grad():
        layer.eval()
        for hook in hooks:
            hook(layer, None)


@contextmanager
def untouched_but(layer: nn.Module, names: list[str]) -> Iterator[None]:
    """Put a layer back as `untouched` does, but for the attributes ``names``."""
    with untouched(layer):
        yield
        fresh = {name: vars(layer)[name] for name in names}
    vars(layer).update(fresh)


def channels_at_layers(flows: list[Flow], survivors: Survivors) -> dict[str, tuple[int, int]]:
    """Return (before, after) channel counts at norm layers, by name; not where they differ between runs."""
    widths_of: dict[str, set[tuple[int, int]]] = {}
    for flow in flows:
        for node in flow.module.graph.nodes:
            if op_name(node) not in ("group_norm", "instance_norm") or not node.meta[CALL].in_layer:
                continue
            labels = flow.values[source_of(node)]
            left = survivors.of(labels)
            if isinstance(left, Tensor):
                widths_of.setdefault(node.meta[CALL].path, set()).add((labels.shape[1], left.shape[1]))
    return {path: next(iter(widths)) for path, widths in widths_of.items() if len(widths) == 1}


def _size_convolution(layer: nn.modules.conv._ConvNd, weight: torch.Size) -> None:
    rows, columns = weight[:2]
    if layer.groups > 1 and layer.groups == layer.in_channels:
        multiplier = layer.out_channels // layer.in_channels
        layer.groups = rows if layer.transposed else rows // max(1, multiplier)
    layer.in_channels = rows if layer.transposed else columns * layer.groups
    layer.out_channels = columns * layer.groups if layer.transposed else rows
