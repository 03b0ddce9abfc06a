"""Rules of the operations that keep channels apart: elementwise, pooling, reductions, softmax, gates."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgeprune.graph import labels as lb
from edgeprune.graph.call import Call
from edgeprune.graph.flow import Consumer, Flow
from edgeprune.graph.labels import tensors_in
from edgeprune.graph.mixers import MIXED

_INTERPOLATIONS = ("interpolate", "upsample", "Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d")
_DIM_AT = {"norm": 2, "quantile": 2}


def pointwise(flow: Flow, call: Call) -> Any:
    """Follow a pointwise operation: a single tensor passes; of several, elements that meet are tied."""
    if not isinstance(call.value, Tensor):  # torch.where(condition) gives places
        return flow.stop(call, f"what {call.kind} gives depends on the content")
    flow.pointwise.add(call.node)
    shape, operands = call.shape, tensors_in([call.args, call.kwargs])
    if len(operands) == 1:
        return operands[0] if operands[0].shape == shape else operands[0].expand(shape)
    tensors = [t[(None,) * (len(shape) - t.dim())] for t in operands]
    result = torch.zeros((), dtype=torch.long)
    for tensor in tensors:
        if _is_broadcast(tensor, tensors):
            flow.protect(tensor, "one channel is broadcast over many", call.node)
            continue
        small = lb.core(tensor)
        flow.tie(result, small)
        result = _first_of(result, small)
    return result.expand(shape)


def _first_of(a: Tensor, b: Tensor) -> Tensor:
    """Return the labels of ``a``, and those of ``b`` where ``a`` has constants."""
    first, second = a.numpy(), b.numpy()
    if not first.ndim and not first:
        return b
    if first.shape == second.shape and first.all():
        return a
    return torch.from_numpy(np.where(first != 0, first, second))


def _is_broadcast(tensor: Tensor, others: list[Tensor]) -> bool:
    """Tell whether this operand is laid over an axis along which another operand's labels change."""
    return any(
        size == 1 and any(other.shape[axis] > 1 and lb.varies(other, axis) for other in others)
        for axis, size in enumerate(tensor.shape)
    )


def passed(flow: Flow, call: Call) -> Any:
    """Follow an operation that hands on the labels of its first argument."""
    flow.pointwise.add(call.node)
    return call.x


def create(_: Flow, call: Call) -> Any:
    """Follow x.new_zeros(...), which takes nothing from x but its type."""
    return lb.constants_like(call.value)


# --- positions ---------------------------------------------------------------------------------------


def spatial(flow: Flow, call: Call) -> Any:
    """Pooling and resizing keep channels and change positions."""
    if not isinstance(call.value, Tensor):
        return flow.stop(call, "a pooling that returns more than one tensor")
    axis = call.x.dim() - _pool_dims(call) - 1
    vector = lb.vector_along(call.x, axis) if axis >= 0 else None
    if vector is None:
        return flow.stop(call, MIXED)
    result = lb.spread(vector, axis, call.shape)
    _spatial_cost(flow, call, result)
    return result


def _pool_dims(call: Call) -> int:
    name = call.kind
    resizes = name in _INTERPOLATIONS or not (name[-1] == "d" and name[-2].isdigit())
    return call.x.dim() - 2 if resizes else int(name[-2])


def _spatial_cost(flow: Flow, call: Call, result: Tensor) -> None:
    if call.kind in ("AdaptiveAvgPool2d", "adaptive_avg_pool2d"):
        flow.cost_of_numel(call.node, call.x, 1)
    if call.kind in _INTERPOLATIONS and call.x.dim() == 4:
        scale = {"nearest": 1, "bilinear": 4}.get(str(call.option(3, "mode", "nearest")), 0)
        if scale:
            flow.cost_of_numel(call.node, result, scale)


# --- reductions --------------------------------------------------------------------------------------


def reduce(flow: Flow, call: Call) -> Any:
    """Follow a reduction: over positions it keeps the labels; a sum or mean over channels reads them."""
    if call.op in ("max", "min") and len(tensors_in([call.args, call.kwargs])) == 2:
        return pointwise(flow, call)
    axes = _axes(call)
    wide = [axis for axis in axes if lb.varies(call.x, axis)]
    values = tensors_in(call.value)
    keeps = all(v.dim() == call.x.dim() for v in values)
    if wide and not _ties_beside(flow, call.x, wide):
        if (
            call.op not in ("sum", "mean")
            or call.node in flow.static
            or len(wide) > 1
            or len(lb.wide_axes(call.x)) > 1
        ):
            return flow.stop(call, f"{call.op} over channels")
        flow.consumers.append(Consumer(call.node, wide[0], lb.vector_along(call.x, wide[0]), None))  # type: ignore[arg-type]
        return lb.constants_like(call.value)
    if any(call.x.shape[axis] == 0 for axis in axes):
        return lb.constants_like(call.value)  # of nothing, which is the same whatever is dropped
    result = call.x
    for axis in reversed(axes):
        result = result.narrow(axis, 0, 1) if keeps else result.select(axis, 0)
    return result if isinstance(call.value, Tensor) else tuple(result for _ in values)


def _axes(call: Call) -> list[int]:
    """Return the axes that are reduced, in order."""
    dims = call.get(_DIM_AT.get(call.op, 1), "dim", call.kwargs.get("axis"))
    if dims is None or (isinstance(dims, (tuple, list)) and not dims) or isinstance(dims, bool):
        return list(range(call.x.dim()))
    return sorted({int(d) % call.x.dim() for d in ([dims] if isinstance(dims, int) else dims)})


def _ties_beside(flow: Flow, labels: Tensor, axes: list[int]) -> bool:
    """Where labels also change along another axis, tie them along ``axes``: that other axis carries them."""
    if len(axes) != 1 or len(lb.wide_axes(labels)) < 2:
        return False
    small = lb.core(labels)
    flow.tie(small.narrow(axes[0], 0, 1), small)
    return not bool((small == 0).any())


def softmax(flow: Flow, call: Call) -> Any:
    """Along positions it passes; along channels every output needs them all."""
    dim = (
        getattr(call.module, "dim", None)
        if call.module
        else call.get(2 if call.op == "normalize" else 1, "dim")
    )
    dim = 1 if dim is None and call.op == "normalize" else dim
    if not isinstance(dim, int):
        return flow.stop(call, f"{call.kind} over channels")
    if lb.varies(call.x, dim) and not _ties_beside(flow, call.x, [dim % call.x.dim()]):
        return flow.stop(call, f"{call.kind} over channels")
    return call.x


def glu(flow: Flow, call: Call) -> Any:
    """Tie the i-th channel of the first half to the i-th of the second, which gates it."""
    dim = call.option(1, "dim", -1)
    first, second = call.x.chunk(2, int(dim if dim is not None else -1))
    flow.tie(lb.core(first), lb.core(second))
    if bool(((lb.core(first) == 0) != (lb.core(second) == 0)).any()):
        return flow.stop(call, "a gate with constant channels on one side")
    return first
