"""Cut the tensors of a network, and make its layers' own numbers agree with them."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgeprune.graph.classes import Bools, Graph, Ints
from edgeprune.graph.ordering import Orders


def kept_indices(graph: Graph, keep: Bools, orders: Orders) -> dict[str, dict[int, Ints]]:
    """For each tensor that changes: the indices that stay along each axis, in the order they are written."""
    alive = np.append(keep, True)  # class -1 stays
    found: dict[str, dict[int, Ints]] = {}
    for (name, axis), vector in graph.slots.items():
        order = orders.get(vector.tobytes()) if orders else None
        kept = np.flatnonzero(alive[vector]) if order is None else order
        if len(kept) != len(vector) or order is not None:
            found.setdefault(name, {})[axis] = kept
    return found


def cut(tensor: Tensor, axes: dict[int, Ints]) -> Tensor:
    """The part of a tensor that stays; its memory format is kept."""
    part = tensor.detach()
    for axis, kept in sorted(axes.items()):  # rows first: they are copied whole
        part = part.index_select(axis, torch.from_numpy(kept).to(part.device))
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous():
        part = part.contiguous(memory_format=torch.channels_last)
    return part


def cut_tensors(model: nn.Module, graph: Graph, keep: Bools, orders: Orders) -> None:
    """Cut the parameters and buffers of ``model``, which has the original's names, and set its layers' numbers."""
    indices = kept_indices(graph, keep, orders)
    tensors = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    for name, axes in indices.items():
        old = tensors[name]
        part = cut(old, axes)
        new: Any = nn.Parameter(part, old.requires_grad) if isinstance(old, nn.Parameter) else part
        for alias in graph.flow.aliases[name]:
            put(model, alias, new)
    set_sizes(model)


def put(model: nn.Module, name: str, tensor: Tensor) -> None:
    """Make ``tensor`` the parameter or buffer of that name."""
    path, _, leaf = name.rpartition(".")
    owner = model.get_submodule(path)
    (owner._parameters if leaf in owner._parameters else owner._buffers)[leaf] = tensor


def set_sizes(module: nn.Module) -> None:
    """Make each layer's own numbers (channels, groups, features) agree with its cut tensors."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.conv._ConvNd):
            _size_convolution(layer)
        elif isinstance(layer, nn.Linear):
            layer.out_features, layer.in_features = layer.weight.shape
        elif isinstance(layer, nn.PReLU):
            layer.num_parameters = layer.weight.numel()
        elif isinstance(layer, nn.GroupNorm):
            if layer.weight is not None and len(layer.weight) != layer.num_channels:
                layer.num_groups = len(layer.weight) * layer.num_groups // layer.num_channels
                layer.num_channels = len(layer.weight)
        elif isinstance(layer, nn.LayerNorm):
            if layer.weight is not None:
                layer.normalized_shape = tuple(layer.weight.shape)
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
