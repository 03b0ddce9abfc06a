"""Rules of normalisation layers and PReLU: channels pass, and vectors of parameters are indexed by them."""

from typing import Any

import torch
from torch import Tensor

from edgeprune.graph import labels as lb
from edgeprune.graph.call import Call
from edgeprune.graph.computed import COMPUTED
from edgeprune.graph.flow import Flow
from edgeprune.graph.mixers import MIXED

_STATISTICS = ((3, "weight"), (4, "bias"), (1, "running_mean"), (2, "running_var"))
_NATIVE_STATISTICS = ((1, "weight"), (2, "bias"), (3, "running_mean"), (4, "running_var"))


def _statistics(call: Call) -> tuple[tuple[int, str], ...]:
    """Return the places of the vectors: `torch.batch_norm` has another order than `F.batch_norm`."""
    native = call.node.target in (torch.batch_norm, torch.instance_norm)
    return _NATIVE_STATISTICS if native and call.module is None else _STATISTICS


def _vectors(flow: Flow, call: Call, names: tuple[tuple[int, str], ...], vector: Tensor) -> None:
    for position, name in names:
        tensor_name, tensor = flow.weight(call, position, name)
        if tensor_name is not None and tensor is not None and tensor.dim() == 1:
            flow.index_axis(tensor_name, 0, vector, call.node)


def _count(flow: Flow, call: Call, position: int, plain: int, affine: int) -> None:
    """Count FLOPs as fvcore does: a number for each element, higher with a gain and a shift."""
    has_gain = (
        flow.weight(call, position, "weight")[0] is not None or call.get(position, "weight") is not None
    )
    flow.cost_of_numel(call.node, call.x, affine if has_gain else plain)


def batch_norm(flow: Flow, call: Call) -> Any:
    """Follow BatchNorm: channels pass and index its vectors."""
    axis = 1 if call.x.dim() > 1 else 0
    vector, places = lb.vector_along(call.x, axis), _statistics(call)
    if vector is None or _foreign(flow, call, places, vector):
        return flow.stop(call, MIXED if vector is None else "a norm whose vectors are computed")
    _vectors(flow, call, places, vector)
    batch = call.module is None and bool(call.get(5, "training", False))
    _count(flow, call, places[0][0], *((4, 5) if batch else (1, 2)))
    return _same(call, vector, axis)


def _same(call: Call, vector: Tensor, axis: int) -> Tensor:
    """Return the incoming labels, unchanged unless they vary along other axes than ``axis``."""
    unchanged = lb.core(call.x).numel() == len(vector) and call.x.shape == call.shape
    return call.x if unchanged else lb.spread(vector, axis, call.shape)


def _foreign(flow: Flow, call: Call, names: tuple[tuple[int, str], ...], vector: Tensor) -> bool:
    """Tell whether a vector among the arguments is neither a parameter nor computed for these very channels."""
    if call.module is not None:
        return any(
            isinstance(getattr(call.module, name, None), Tensor) and flow.weight(call, at, name)[0] is None
            for at, name in names
        )
    for at, name in names:
        argument = call.get(at, name)
        if isinstance(argument, Tensor) and flow.weight(call, at, name)[0] is None:
            if argument.dim() != 1 or bool(((argument == 0) & (vector != 0)).any()):
                return True
            flow.tie(argument, vector)
    return False


def instance_norm(flow: Flow, call: Call) -> Any:
    """Follow InstanceNorm: channels pass, each normalised by itself."""
    axis = call.x.dim() - _spatial_dims(call) - 1
    vector, places = lb.vector_along(call.x, axis), _statistics(call)
    if vector is None or _foreign(flow, call, places, vector):
        return flow.stop(call, MIXED if vector is None else "a norm whose vectors are computed")
    _vectors(flow, call, places, vector)
    _count(flow, call, places[0][0], 4, 5)
    return lb.spread(vector, axis, call.shape)


def _spatial_dims(call: Call) -> int:
    name = call.kind
    return int(name[-2]) if name[-1:] == "d" and name[-2:-1].isdigit() else call.x.dim() - 2


def group_norm(flow: Flow, call: Call) -> Any:
    """Follow GroupNorm: the channels of a group share a statistic, so they are kept or pruned together."""
    groups = int(call.option(1, "num_groups"))
    vector = lb.vector_along(call.x, 1)
    names = ((2, "weight"), (3, "bias"))
    if vector is None or _foreign(flow, call, names, vector):
        return flow.stop(call, MIXED if vector is None else "a norm whose vectors are computed")
    rows = vector.view(groups, -1)
    if groups == 1 or bool((rows == 0).any()):
        flow.protect(vector, "GroupNorm takes one statistic over all these channels", call.node)
    flow.tie(rows[:, :1], rows)
    _vectors(flow, call, names, vector)
    _count(flow, call, 2, 4, 5)
    return lb.spread(vector, 1, call.shape)


def layer_norm(flow: Flow, call: Call) -> Any:
    """Follow LayerNorm: over positions channels pass, over channels its statistic protects them."""
    count = len(call.option(1, "normalized_shape"))
    _count(flow, call, 2, 4, 5)
    if any(lb.varies(call.x, axis) for axis in range(call.x.dim() - count, call.x.dim())):
        flow.protect(call.x, "LayerNorm takes one statistic over all these channels", call.node)
    if any(isinstance(call.get(at, name), Tensor) for at, name in ((2, "weight"), (3, "bias"))):
        return flow.stop(call, "a norm whose vectors are computed")
    return call.x


def weight_norm(flow: Flow, call: Call) -> Any:
    """Follow a weight with a gain for each row: rows can be pruned, but each is divided by its full length."""
    if int(call.get(2, "dim", 0)) != 0:  # -1: one length of the whole weight
        return flow.stop(call, COMPUTED)
    rows, gains = lb.vector_along(call.x, 0), lb.vector_along(call.get(1, "g"), 0)
    if rows is None or gains is None:
        return flow.stop(call, COMPUTED)
    flow.tie(rows, gains)
    return lb.spread(rows, 0, call.shape)


def prelu(flow: Flow, call: Call) -> Any:
    """Follow PReLU: channels pass and index its slopes if it has several."""
    name, weight = flow.weight(call, 1, "weight")
    if name is None or weight is None:
        return flow.stop(call, "the slope of this PReLU is computed, not a parameter")
    if weight.numel() > 1:
        vector = lb.vector_along(call.x, 1)
        if vector is None:
            return flow.stop(call, MIXED)
        flow.index_axis(name, 0, vector, call.node)
    return call.x
