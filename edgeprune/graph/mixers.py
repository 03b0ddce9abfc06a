"""Rules of the operations that mix channels: convolutions, linear layers, matrix products."""

import math
from typing import Any

import torch
from torch import Tensor

from edgeprune.graph import labels as lb
from edgeprune.graph.call import Call
from edgeprune.graph.computed import COMPUTED, FROM_INPUT
from edgeprune.graph.flow import Flow
from edgeprune.graph.nodes import is_linear_product
from edgeprune.recording.record import VALUE

MIXED = "channels are mixed with positions here"


def linear(flow: Flow, call: Call) -> Any:
    """Linear: reads the last axis, writes fresh labels on it."""
    name, weight = flow.weight(call, 1, "weight")
    if name is None or weight is None or weight.dim() != 2:
        return _computed_linear(flow, call)
    out = _dense(flow, call, name, weight, side=1)
    _bias(flow, call, 2, out)
    return lb.spread(out, len(call.shape) - 1, call.shape)


def _dense(flow: Flow, call: Call, name: str, weight: Tensor, side: int) -> Tensor:
    """Follow a matrix whose axis ``side`` reads the last axis; return the output labels of the other."""
    vector = flow.read(call, call.x.dim() - 1, name)
    if vector is not None:
        flow.index_axis(name, side, vector, call.node)
    out = flow.output_labels(name, 1 - side, weight.shape[1 - side])
    reads = vector if vector is not None else torch.zeros(weight.shape[side], dtype=torch.long)
    flow.cost(call.node, math.prod(call.shape[:-1]), out, reads)
    return out


def _linear_flops(call: Call) -> float:
    return math.prod(call.shape) * call.x.shape[-1]


def _computed_linear(flow: Flow, call: Call) -> Any:
    """A weight made from a parameter, row by row: rows may go, but what they read stays."""
    labels = call.get(1, "weight")
    rows = lb.vector_along(labels, 0) if isinstance(labels, Tensor) and labels.dim() == 2 else None
    if rows is None or bool((rows == 0).any()):
        return _computed(flow, call, _linear_flops(call))
    flow.protect(call.x, COMPUTED, call.node)
    _bias(flow, call, 2, rows)
    flow.cost(call.node, math.prod(call.shape[:-1]) * call.x.shape[-1], rows)
    return lb.spread(rows, len(call.shape) - 1, call.shape)


def _bias(flow: Flow, call: Call, position: int, out: Tensor) -> None:
    name, _ = flow.weight(call, position, "bias")
    if name is not None:
        flow.index_axis(name, 0, out, call.node)
        return
    labels = call.get(position, "bias")
    if isinstance(labels, Tensor) and call.module is None:
        flow.tie(labels, out)
        if bool(((labels == 0) & (out != 0)).any()):
            flow.protect(out, COMPUTED, call.node)


def _computed(flow: Flow, call: Call, flops: float) -> Any:
    flow.cost(call.node, flops)
    weight = call.argument_node(1, "weight")
    return flow.stop(call, COMPUTED if call.module or weight in flow.static else FROM_INPUT)


def matmul(flow: Flow, call: Call) -> Any:
    """Follow a matrix product: ``x @ W`` with a parameter W is a linear layer, any other is not followed."""
    if not is_linear_product(call.node):
        flow.cost(call.node, math.prod(call.shape) * _inner(call))
        return flow.stop(call, "a matrix product of two activations")
    node = call.node.all_input_nodes[1]
    name, weight = flow.names.read_by(node), call.argument_node(1, "other").meta[VALUE]
    if name is None or name in flow.attributes:
        return flow.stop(call, COMPUTED)
    out = _dense(flow, call, name, weight, side=0)
    return lb.spread(out, len(call.shape) - 1, call.shape)


def _inner(call: Call) -> int:
    return int(call.x.shape[-1]) if isinstance(call.x, Tensor) else 0


def convolution(flow: Flow, call: Call) -> Any:
    """Convolution, plain, grouped or depthwise, transposed or not."""
    transposed = "transpose" in call.kind.lower()
    name, weight = flow.weight(call, 1, "weight")
    if name is None or weight is None:
        return _computed_convolution(flow, call, transposed)
    axis = call.x.dim() - (weight.dim() - 1)
    groups = int(call.option(6, "groups", 1))
    if groups > 1 and groups == call.x.shape[axis]:
        out = _depthwise(flow, call, name, weight, axis, transposed)
    elif groups > 1:
        out = _grouped(flow, call, name, weight, axis, transposed)
    else:
        out = _plain(flow, call, name, weight, axis, transposed)
    if out is None:
        return flow.stop(call, MIXED)
    _bias(flow, call, 2, out)
    _convolution_cost(flow, call, name, weight, axis, transposed)
    return lb.spread(out, axis, call.shape)


def _computed_convolution(flow: Flow, call: Call, transposed: bool) -> Any:
    """A weight made from a parameter, row by row: rows may go, but what they read stays."""
    labels, groups = call.get(1, "weight"), int(call.option(6, "groups", 1))
    weight: Any = call.module.weight if call.module else call.argument_node(1, "weight").meta[VALUE]
    places = tuple(call.x.shape) if transposed else call.shape
    each = float(call.shape[0] * math.prod(places[2:]) * math.prod(weight.shape[1:]))
    rows = lb.vector_along(labels, 0) if isinstance(labels, Tensor) and not transposed else None
    axis = call.x.dim() - (weight.dim() - 1)
    incoming = lb.vector_along(call.x, axis)
    if rows is None or incoming is None or bool((rows == 0).any()):
        return _computed(flow, call, each * weight.shape[0])
    if groups > 1 and groups == len(incoming):
        flow.tie(rows, incoming.repeat_interleave(len(rows) // groups))
        if bool((incoming == 0).any()):
            flow.protect(rows, "a depthwise convolution reads constant channels", call.node)
    else:
        flow.protect(call.x, COMPUTED, call.node)
        flow.tie(rows.view(groups, -1)[:1], rows.view(groups, -1))
    _bias(flow, call, 2, rows)
    flow.cost(call.node, each, rows)
    return lb.spread(rows, axis, call.shape)


def _convolution_cost(flow: Flow, call: Call, name: str, weight: Tensor, axis: int, transposed: bool) -> None:
    places = tuple(call.x.shape) if transposed else call.shape
    batch = places[0] if axis == 1 else 1
    every = batch * math.prod(places[axis + 1 :]) * math.prod(weight.shape[2:])
    vectors = [
        flow.param_axes[name, a] if (name, a) in flow.param_axes else torch.zeros(size, dtype=torch.long)
        for a, size in enumerate(weight.shape[:2])
    ]
    flow.cost(call.node, every, *vectors)


def _plain(flow: Flow, call: Call, name: str, weight: Tensor, axis: int, transposed: bool) -> Tensor:
    side, out_side = (0, 1) if transposed else (1, 0)
    vector = flow.read(call, axis, name)
    if vector is not None:
        flow.index_axis(name, side, vector, call.node)
    return flow.output_labels(name, out_side, weight.shape[out_side])


def _depthwise(
    flow: Flow, call: Call, name: str, weight: Tensor, axis: int, transposed: bool
) -> Tensor | None:
    """Follow a depthwise convolution: channels pass; each is tied to its ``multiplier`` outputs."""
    vector = lb.vector_along(call.x, axis)
    if vector is None:
        return None
    multiplier = weight.shape[1] if transposed else weight.shape[0] // len(vector)
    out = vector.repeat_interleave(multiplier)
    flow.index_axis(name, 0, vector if transposed else out, call.node)
    return out


def _grouped(flow: Flow, call: Call, name: str, weight: Tensor, axis: int, transposed: bool) -> Tensor | None:
    """Tie the j-th channels of all groups, so that groups stay equal."""
    vector = flow.read(call, axis, name)
    if vector is None:
        return None
    groups = int(call.option(6, "groups", 1))
    incoming = vector.view(groups, -1)
    if bool((incoming == 0).any()):
        flow.protect(incoming, "a grouped convolution reads constant channels", call.node)
    flow.tie(incoming[:1], incoming)
    if transposed:
        flow.index_axis(name, 0, vector, call.node)
        return flow.output_labels(name, 1, weight.shape[1]).repeat(groups)
    flow.index_axis(name, 1, incoming[0], call.node)
    out = flow.output_labels(name, 0, weight.shape[0])
    flow.tie(out.view(groups, -1)[:1], out.view(groups, -1))
    return out
