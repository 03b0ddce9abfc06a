"""What each operation does to labels. A new operation is one short rule here.

A rule takes the walk and the call (arguments already labels) and gives the labels of the result.
An operation without a rule protects the channels that reach it: nothing is broken silently.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.graph import labels as lb
from edgeprune.graph.flow import Call, Flow, Reader, Remap, tensors_in
from edgeprune.graph.ops import BINARY, MOVERS, POOLS, REDUCERS, SOFTMAXES, UNARY, op_name
from edgeprune.graph.trace import VALUE

Rule = Callable[[Flow, Call], Any]


# --- no rule --------------------------------------------------------------------------------------


def constants_like(value: Any) -> Any:
    """Label 0 for every element of every tensor in ``value``."""
    if isinstance(value, Tensor):
        return torch.zeros((), dtype=torch.long).expand(value.shape)
    if isinstance(value, (tuple, list)):
        items = [constants_like(item) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, dict):
        return {key: constants_like(item) for key, item in value.items()}
    return value


def unknown(flow: Flow, call: Call) -> Any:
    """Protect everything that comes in; what goes out is constant as far as pruning is concerned."""
    what = type(call.module).__name__ if call.module else (call.op or str(call.node.target))
    flow.protect([call.args, call.kwargs], f"no rule for {what}", call.node)
    return constants_like(call.value)


def _stop(flow: Flow, call: Call, reason: str) -> Any:
    flow.protect([call.args, call.kwargs], reason, call.node)
    return constants_like(call.value)


# --- mixers ---------------------------------------------------------------------------------------


def _weight(flow: Flow, call: Call, position: int, name: str) -> tuple[str | None, Tensor | None]:
    """Canonical name and value of a layer's parameter, from its module or from a get_attr argument."""
    if call.module is not None:
        tensor = getattr(call.module, name, None)
        return (flow.tensor_name(tensor), tensor) if isinstance(tensor, Tensor) else (None, None)
    node = call.argument_node(position, name)
    found = flow.attribute(node)
    return (found, node.meta[VALUE]) if found else (None, None)


def _read(flow: Flow, call: Call, axis: int, weight: str | None) -> Tensor | None:
    """The label vector that a mixer reads along ``axis``; protects and gives None when there is none."""
    vector = lb.vector_along(call.x, axis)
    if vector is None:
        flow.protect(call.x, "channels are mixed with positions here", call.node)
        return None
    flow.readers.append(Reader(call.node, axis, vector, weight))
    return vector


def _no_parameter(call: Call) -> bool:
    return call.module is None and call.argument_node(1, "weight") is not None


def linear(flow: Flow, call: Call) -> Any:
    """Linear: reads the last axis, writes fresh labels on it."""
    name, weight = _weight(flow, call, 1, "weight")
    if name is None or weight is None:
        return _stop(flow, call, "the weight of this layer is computed, not a parameter")
    vector = _read(flow, call, call.x.dim() - 1, name)
    if vector is not None:
        flow.slot(name, 1, vector, call.node)
    out = flow.output_labels(name, 0, weight.shape[0])
    _bias(flow, call, 2, out)
    rows = math.prod(call.shape[:-1])
    flow.cost(call.node, rows, out, vector if vector is not None else torch.zeros(weight.shape[1], dtype=torch.long))
    return lb.spread(out, len(call.shape) - 1, call.shape)


def _bias(flow: Flow, call: Call, position: int, out: Tensor) -> None:
    name, _ = _weight(flow, call, position, "bias")
    if name is not None:
        flow.slot(name, 0, out, call.node)


def _groups(call: Call, transposed: bool) -> int:
    if call.module is not None:
        return int(call.module.groups)  # type: ignore[arg-type]
    return int(call.get(6, "groups", 1))


def convolution(flow: Flow, call: Call) -> Any:
    """Convolution, plain, grouped or depthwise, transposed or not."""
    transposed = "transpose" in (type(call.module).__name__.lower() if call.module else call.op)
    name, weight = _weight(flow, call, 1, "weight")
    if name is None or weight is None:
        return _stop(flow, call, "the weight of this layer is computed, not a parameter")
    axis = call.x.dim() - (weight.dim() - 1)
    groups = _groups(call, transposed)
    if groups > 1 and groups == call.x.shape[axis]:
        out = _depthwise(flow, call, name, weight, axis, transposed)
    elif groups > 1:
        out = _grouped(flow, call, name, weight, axis, groups, transposed)
    else:
        out = _plain(flow, call, name, weight, axis, transposed)
    if out is None:
        return _stop(flow, call, "channels are mixed with positions here")
    _bias(flow, call, 2, out)
    _convolution_cost(flow, call, name, weight, axis, transposed)
    return lb.spread(out, axis, call.shape)


def _convolution_cost(flow: Flow, call: Call, name: str, weight: Tensor, axis: int, transposed: bool) -> None:
    places = tuple(call.x.shape) if transposed else call.shape
    batch = places[0] if axis == 1 else 1
    every = batch * math.prod(places[axis + 1 :]) * math.prod(weight.shape[2:])
    vectors = [flow.slots.get((name, a), torch.zeros(weight.shape[a], dtype=torch.long)) for a in (0, 1)]
    flow.cost(call.node, every, *vectors)


def _plain(flow: Flow, call: Call, name: str, weight: Tensor, axis: int, transposed: bool) -> Tensor:
    side, out_side = (0, 1) if transposed else (1, 0)
    vector = _read(flow, call, axis, name)
    if vector is not None:
        flow.slot(name, side, vector, call.node)
    return flow.output_labels(name, out_side, weight.shape[out_side])


def _depthwise(flow: Flow, call: Call, name: str, weight: Tensor, axis: int, transposed: bool) -> Tensor | None:
    """Channels pass; each has ``multiplier`` outputs that go with it."""
    vector = lb.vector_along(call.x, axis)
    if vector is None:
        return None
    multiplier = weight.shape[1] if transposed else weight.shape[0] // len(vector)
    out = vector.repeat_interleave(multiplier)
    flow.slot(name, 0, vector if transposed else out, call.node)
    return out


def _grouped(
    flow: Flow, call: Call, name: str, weight: Tensor, axis: int, groups: int, transposed: bool
) -> Tensor | None:
    """The j-th channels of all groups stay or go together, so that groups stay equal."""
    vector = _read(flow, call, axis, name)
    if vector is None:
        return None
    incoming = vector.view(groups, -1)
    if bool((incoming == 0).any()):
        flow.protect(incoming, "a grouped convolution reads constant channels", call.node)
    flow.tie(incoming[:1], incoming)
    size = weight.shape[1] * groups if transposed else weight.shape[0]
    if transposed:
        flow.slot(name, 0, vector, call.node)
        first = flow.output_labels(name, 1, weight.shape[1])
        return first.repeat(groups)
    flow.slot(name, 1, incoming[0], call.node)
    out = flow.output_labels(name, 0, size)
    flow.tie(out.view(groups, -1)[:1], out.view(groups, -1))
    return out


def matmul(flow: Flow, call: Call) -> Any:
    """``x @ W`` with a parameter W is a linear layer; a product of two activations is left alone."""
    name = flow.attribute(call.argument_node(1, "other"))
    other = call.argument_node(1, "other")
    if name is None or other.meta[VALUE].dim() != 2 or not isinstance(call.x, Tensor):
        return _stop(flow, call, "a matrix product of two activations")
    labels = flow.values[other]
    vector = _read(flow, call, call.x.dim() - 1, None)
    if vector is None or bool((vector == 0).any()):
        return _stop(flow, call, "channels are mixed with positions here")
    flow.tie(vector[:, None], labels)
    return _stop(flow, call, "a matrix product with a parameter") if _tied_rows(labels) else constants_like(call.value)


def _tied_rows(labels: Tensor) -> bool:
    # Removing whole rows of W is exact, but W's columns are outputs that have labels of their own;
    # a grid of both cannot be told from ties alone, so this stays conservative.
    return labels.numel() > 0


# --- norms ----------------------------------------------------------------------------------------


def _vectors(flow: Flow, call: Call, names: tuple[tuple[int, str], ...], vector: Tensor) -> None:
    for position, name in names:
        found, tensor = _weight(flow, call, position, name)
        if found is not None and tensor is not None and tensor.dim() == 1:
            flow.slot(found, 0, vector, call.node)


def batch_norm(flow: Flow, call: Call) -> Any:
    """BatchNorm passes channels; its vectors are indexed by them."""
    axis = 1 if call.x.dim() > 1 else 0
    vector = lb.vector_along(call.x, axis)
    if vector is None:
        return _stop(flow, call, "channels are mixed with positions here")
    names = ((3, "weight"), (4, "bias"), (1, "running_mean"), (2, "running_var"))
    _vectors(flow, call, names, vector)
    affine = _weight(flow, call, 3, "weight")[0] is not None
    flow.cost_of_numel(call.node, call.x, 2 if affine else 1)
    return lb.spread(vector, axis, call.shape)


def instance_norm(flow: Flow, call: Call) -> Any:
    """InstanceNorm passes channels; each is normalised by itself."""
    dims = _spatial_dims(call)
    axis = call.x.dim() - dims - 1
    vector = lb.vector_along(call.x, axis)
    if vector is None:
        return _stop(flow, call, "channels are mixed with positions here")
    names = ((3, "weight"), (4, "bias"), (1, "running_mean"), (2, "running_var"))
    _vectors(flow, call, names, vector)
    affine = _weight(flow, call, 3, "weight")[0] is not None
    flow.cost_of_numel(call.node, call.x, 5 if affine else 4)
    return lb.spread(vector, axis, call.shape)


def _spatial_dims(call: Call) -> int:
    name = type(call.module).__name__ if call.module else ""
    return int(name[-2]) if name and name[-1] == "d" and name[-2].isdigit() else call.x.dim() - 2


def group_norm(flow: Flow, call: Call) -> Any:
    """A normalisation group is one statistic: its channels stay or go together."""
    groups = int(call.module.num_groups if call.module else call.get(1, "num_groups"))  # type: ignore[arg-type]
    vector = lb.vector_along(call.x, 1)
    if vector is None:
        return _stop(flow, call, "channels are mixed with positions here")
    rows = vector.view(groups, -1)
    if groups == 1 or bool((rows == 0).any()):
        flow.protect(vector, "GroupNorm takes one statistic over all these channels", call.node)
    flow.tie(rows[:, :1], rows)
    _vectors(flow, call, ((2, "weight"), (3, "bias")), vector)
    affine = _weight(flow, call, 2, "weight")[0] is not None
    flow.cost_of_numel(call.node, call.x, 5 if affine else 4)
    return call.x


def layer_norm(flow: Flow, call: Call) -> Any:
    """LayerNorm over positions passes; over channels it takes one statistic of them all."""
    shape = call.module.normalized_shape if call.module else call.get(1, "normalized_shape")
    dims = range(call.x.dim() - len(shape), call.x.dim())  # type: ignore[arg-type]
    if any(lb.varies(call.x, axis) for axis in dims):
        flow.protect(call.x, "LayerNorm takes one statistic over all these channels", call.node)
    affine = _weight(flow, call, 2, "weight")[0] is not None
    flow.cost_of_numel(call.node, call.x, 5 if affine else 4)
    return call.x


def prelu(flow: Flow, call: Call) -> Any:
    """PReLU passes; a slope for each channel is indexed by the channels."""
    name, weight = _weight(flow, call, 1, "weight")
    if name is None or weight is None:
        return _stop(flow, call, "the slope of this PReLU is computed, not a parameter")
    if weight.numel() > 1:
        vector = lb.vector_along(call.x, 1)
        if vector is None:
            return _stop(flow, call, "channels are mixed with positions here")
        flow.slot(name, 0, vector, call.node)
    return call.x


# --- movers ---------------------------------------------------------------------------------------


def mover(flow: Flow, call: Call) -> Any:
    """Torch itself moves the labels."""
    flow.movers.add(call.node)
    return lb.run_on_labels(lambda *a, **k: run_mover(call.node, call.op, call.module, a, k), call.args, call.kwargs)


def run_mover(node: Any, op: str, module: nn.Module | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a mover on stand-in values; `view` becomes `reshape`, since stand-ins may have stride 0."""
    if module is not None:
        return module(*args, **kwargs)
    if op in ("view", "reshape") and not (len(args) > 1 and isinstance(args[1], torch.dtype)):
        size = args[1] if len(args) > 1 and isinstance(args[1], (tuple, list)) else args[1:]
        return args[0].reshape(*(size or (kwargs.get("size", kwargs.get("shape")),)))
    if op in ("contiguous", "clone"):
        return args[0]
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    return node.target(*args, **kwargs)


def concatenate(flow: Flow, call: Call) -> Any:
    """cat: labels side by side."""
    flow.movers.add(call.node)
    return lb.cat(list(call.x), int(call.get(1, "dim", call.kwargs.get("axis", 0))))


def pixel_shuffle(flow: Flow, call: Call) -> Any:
    """The r*r channels that become one channel's pixels stay or go together."""
    factor = int(call.module.upscale_factor if call.module else call.get(1, "upscale_factor"))  # type: ignore[arg-type]
    axis = call.x.dim() - 3
    vector = lb.vector_along(call.x, axis)
    if vector is None:
        return _stop(flow, call, "channels are mixed with positions here")
    rows = vector.view(-1, factor * factor)
    flow.tie(rows[:, :1], rows)
    if bool(((rows == 0).any(1) & (rows != 0).any(1)).any()):
        flow.protect(vector, "pixel shuffle mixes constant channels with others", call.node)
    flow.movers.add(call.node)
    return lb.spread(rows.max(1).values, axis, call.shape)


def pad(flow: Flow, call: Call) -> Any:
    """Padding positions changes no channel; padding *channels* is a remap whose two sides stay free."""
    widths = call.module.padding if call.module else call.get(1, "pad")
    mode = "constant" if call.module and "Constant" in type(call.module).__name__ else call.get(2, "mode", "constant")
    if call.module and "Zero" not in type(call.module).__name__ and "Constant" not in type(call.module).__name__:
        mode = "other"
    axes = [a for a in range(call.x.dim()) if call.x.shape[a] != call.shape[a] or _padded(widths, call.x.dim(), a)]
    wide = [axis for axis in axes if lb.varies(call.x, axis)]
    if not wide:
        return lb.core(call.x).expand([s if c == 1 else c for c, s in zip(lb.core(call.x).shape, call.shape, strict=True)])
    vector = lb.vector_along(call.x, wide[0])
    if len(wide) > 1 or vector is None or mode != "constant":
        return _stop(flow, call, "a pad that repeats or mixes channels")
    return _remap(flow, call, wide[0], vector, widths)


def _padded(widths: Any, dims: int, axis: int) -> bool:
    place = 2 * (dims - 1 - axis)
    return place < len(widths) and (int(widths[place]) != 0 or int(widths[place + 1]) != 0)


def _remap(flow: Flow, call: Call, axis: int, vector: Tensor, widths: Any) -> Any:
    place = 2 * (call.x.dim() - 1 - axis)
    low, high = int(widths[place]), int(widths[place + 1])
    source = F.pad(torch.arange(len(vector)), (low, high), value=-1)
    fill = getattr(call.module, "value", 0.0) if call.module else call.get(3, "value", 0.0)
    out = flow.fresh(call.shape[axis])
    flow.readers.append(Reader(call.node, axis, vector, None))
    flow.remaps.append(Remap(call.node, axis, vector, out, source, float(fill or 0.0)))
    return lb.spread(out, axis, call.shape)


# --- pointwise, pooling, reductions ------------------------------------------------------------------


def pointwise(flow: Flow, call: Call) -> Any:
    """One tensor passes; of several, elements that meet are tied."""
    flow.pointwise.add(call.node)
    tensors = tensors_in([call.args, call.kwargs])
    shape = call.shape
    tensors = [t[(None,) * (len(shape) - t.dim())] for t in tensors]
    _protect_broadcast(flow, call, tensors)
    result = torch.zeros(1, dtype=torch.long)
    for tensor in tensors:
        small = lb.core(tensor)
        aligned = _without_broadcast(small, tensor, tensors)
        if aligned is None:
            continue
        flow.tie(result, aligned)
        a, b = torch.broadcast_tensors(result, aligned)
        result = torch.where(a != 0, a, b)
    return result.expand(shape)


def _without_broadcast(small: Tensor, tensor: Tensor, others: list[Tensor]) -> Tensor | None:
    """The operand's labels, unless it is broadcast over channels that another operand tells apart."""
    for axis, size in enumerate(tensor.shape):
        if size == 1 and any(o.shape[axis] > 1 and lb.varies(o, axis) for o in others):
            return None
    return small


def _protect_broadcast(flow: Flow, call: Call, tensors: list[Tensor]) -> None:
    for tensor in tensors:
        if _without_broadcast(tensor, tensor, tensors) is None:
            flow.protect(tensor, "one channel is broadcast over many", call.node)


def spatial(flow: Flow, call: Call) -> Any:
    """Pooling and resizing keep channels and change positions."""
    value = call.value
    if not isinstance(value, Tensor):
        return _stop(flow, call, "a pooling that returns more than one tensor")
    dims = _pool_dims(call)
    axis = call.x.dim() - dims - 1
    vector = lb.vector_along(call.x, axis) if axis >= 0 else None
    if vector is None:
        return _stop(flow, call, "channels are mixed with positions here")
    _spatial_cost(flow, call)
    return lb.spread(vector, axis, call.shape)


def _pool_dims(call: Call) -> int:
    name = type(call.module).__name__ if call.module else call.op
    return int(name[-2]) if name[-1] == "d" and name[-2].isdigit() else call.x.dim() - 2


def _spatial_cost(flow: Flow, call: Call) -> None:
    name = type(call.module).__name__ if call.module else call.op
    if name in ("AdaptiveAvgPool2d", "adaptive_avg_pool2d"):
        flow.cost_of_numel(call.node, call.x, 1)
    mode = getattr(call.module, "mode", None) or call.get(3, "mode", "nearest")
    if name in ("interpolate", "Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d") and call.x.dim() == 4:
        vector = lb.vector_along(call.x, 1)
        scale = {"nearest": 1, "bilinear": 4}.get(str(mode), 0)
        if vector is not None and scale:
            flow.cost_of_numel(call.node, lb.spread(vector, 1, call.shape), scale)


def reduce(flow: Flow, call: Call) -> Any:
    """A reduction over positions keeps the labels; over channels it needs them all."""
    if call.op in ("max", "min") and len(tensors_in([call.args, call.kwargs])) == 2:
        return pointwise(flow, call)
    dims = call.get(1, "dim", call.kwargs.get("axis"))
    keep = bool(call.get(2, "keepdim", False))
    every = range(call.x.dim()) if dims is None else ([dims] if isinstance(dims, int) else dims)
    axes = sorted({int(d) % call.x.dim() for d in every})
    if not isinstance(call.value, Tensor) or any(lb.varies(call.x, axis) for axis in axes):
        return _stop(flow, call, f"{call.op} over channels")
    result = call.x
    for axis in reversed(axes):
        result = result.narrow(axis, 0, 1) if keep else result.select(axis, 0)
    return result


def softmax(flow: Flow, call: Call) -> Any:
    """Along positions it passes; along channels every output needs them all."""
    dim = getattr(call.module, "dim", None) if call.module else call.get(1, "dim")
    dim = call.get(2, "dim", 1) if call.op == "normalize" else dim
    if not isinstance(dim, int) or lb.varies(call.x, dim):
        return _stop(flow, call, f"{call.op or 'Softmax'} over channels")
    return call.x


def glu(flow: Flow, call: Call) -> Any:
    """The i-th channel of the first half is gated by the i-th of the second."""
    dim = getattr(call.module, "dim", None) if call.module else call.get(1, "dim", -1)
    first, second = call.x.chunk(2, int(dim if dim is not None else -1))
    flow.tie(lb.core(first), lb.core(second))
    return first


def passed(flow: Flow, call: Call) -> Any:
    """The result is the first argument, as far as labels go."""
    flow.pointwise.add(call.node)
    return call.x


_FUNCTIONS: dict[str, Rule] = {
    "linear": linear,
    "matmul": matmul,
    "batch_norm": batch_norm,
    "instance_norm": instance_norm,
    "group_norm": group_norm,
    "layer_norm": layer_norm,
    "prelu": prelu,
    "cat": concatenate,
    "pixel_shuffle": pixel_shuffle,
    "pad": pad,
    "glu": glu,
    **{f"conv{t}{d}d": convolution for t in ("", "_transpose") for d in (1, 2, 3)},
    **dict.fromkeys(REDUCERS, reduce),
    **dict.fromkeys(SOFTMAXES, softmax),
    **dict.fromkeys(POOLS, spatial),
    **dict.fromkeys(MOVERS, mover),
    **dict.fromkeys(UNARY | BINARY, pointwise),
}

_MODULES: dict[type[nn.Module], Rule] = {
    nn.Linear: linear,
    nn.modules.conv._ConvNd: convolution,
    nn.modules.batchnorm._BatchNorm: batch_norm,
    nn.modules.instancenorm._InstanceNorm: instance_norm,
    nn.GroupNorm: group_norm,
    nn.LayerNorm: layer_norm,
    nn.PReLU: prelu,
    nn.GLU: glu,
    nn.PixelShuffle: pixel_shuffle,
    **dict.fromkeys((nn.Flatten, nn.Unflatten, nn.PixelUnshuffle, nn.ChannelShuffle), mover),
    **dict.fromkeys((nn.Softmax, nn.LogSoftmax, nn.Softmin), softmax),
    **dict.fromkeys(
        (nn.Upsample, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
         nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool1d,
         nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d, nn.LPPool2d), spatial),
    **dict.fromkeys(
        (nn.modules.padding._ConstantPadNd, nn.modules.padding._ReflectionPadNd, nn.modules.padding._ReplicationPadNd,
         nn.ZeroPad2d), pad),
    **dict.fromkeys(
        (nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.ELU,
         nn.SELU, nn.CELU, nn.LeakyReLU, nn.RReLU, nn.Mish, nn.Softplus, nn.Softsign, nn.LogSigmoid, nn.Tanhshrink,
         nn.Softshrink, nn.Hardshrink, nn.Threshold, nn.Identity, nn.modules.dropout._DropoutNd), passed),
}  # fmt: skip

_SIZE_ANSWERS = {"size", "dim", "numel", "getattr", "stride", "is_floating_point", "ndimension", "get_device"}


def rule_for(call: Call) -> Rule:
    """The rule of a call, or `unknown`."""
    if call.module is not None:
        if type(call.module).__name__ in ("StochasticDepth", "DropPath", "DropBlock2d", "DropBlock3d"):
            return passed
        return next((_MODULES[kind] for kind in type(call.module).__mro__ if kind in _MODULES), unknown)
    return _FUNCTIONS.get(call.op, unknown)


def apply_rule(flow: Flow, call: Call) -> Any:
    """Labels of one call's result; plain values (sizes, flags) come from the example."""
    call.op = op_name(call.node)
    if not tensors_in(call.value):
        return call.value
    incoming = tensors_in([call.args, call.kwargs])
    if call.node.op == "call_function" and call.op == "getattr" and call.args[1] in ("T", "mT", "data"):
        return mover(flow, call) if call.args[1] != "data" else passed(flow, call)
    if not incoming:
        return constants_like(call.value)
    if call.op == "getitem" and not isinstance(call.x, Tensor):
        return call.x[call.args[1]]
    return rule_for(call)(flow, call)
