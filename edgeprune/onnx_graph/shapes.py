"""Operators that move, pad, pool, reduce and resize."""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from edgeprune.onnx_graph.layers import padded, spatial_pads
from edgeprune.onnx_graph.operands import NotCovered, Operands


def reshape_sizes(shape: list[int], before: tuple[int, ...], allow_zero: bool) -> list[int]:
    """Return the sizes that a Reshape asks for, its zeros replaced.

    Args:
        shape: as it is written.
        before: shape of what is reshaped.
        allow_zero: whether 0 means 0.
    """
    if allow_zero:
        return shape
    return [int(before[axis]) if size == 0 else size for axis, size in enumerate(shape)]


def reshape(operands: Operands) -> Tensor:
    """Compute Reshape."""
    shape = (
        [int(size) for size in operands.host(1).reshape(-1)] if len(operands) > 1 else operands.attr("shape")
    )
    sizes = reshape_sizes(shape, tuple(operands.x.shape), bool(operands.attr("allowzero", 0)))
    return operands.x.reshape(sizes)


def flatten(operands: Operands) -> Tensor:
    """Compute Flatten into two axes."""
    x, axis = operands.x, operands.attr("axis", 1)
    axis = axis % x.dim() if axis < 0 else axis
    if axis == 1 and x.dim() > 1:
        return x.flatten(1)
    return x.reshape([math.prod(x.shape[:axis]), math.prod(x.shape[axis:])])


def transpose(operands: Operands) -> Tensor:
    """Compute Transpose."""
    return operands.x.permute(operands.attr("perm", list(range(operands.x.dim()))[::-1]))


def squeeze(operands: Operands) -> Tensor:
    """Compute Squeeze."""
    x, axes = operands.x, operands.integers(1, "axes")
    axes = [a for a, size in enumerate(x.shape) if size == 1] if axes is None else axes
    for axis in sorted((a % x.dim() for a in axes), reverse=True):
        x = x.squeeze(axis)
    return x


def unsqueeze(operands: Operands) -> Tensor:
    """Compute Unsqueeze."""
    x, axes = operands.x, operands.integers(1, "axes") or []
    for axis in sorted(a % (operands.x.dim() + len(axes)) for a in axes):
        x = x.unsqueeze(axis)
    return x


def concat(operands: Operands) -> Tensor:
    """Compute Concat."""
    return torch.cat([operands.tensor(position) for position in range(len(operands))], operands.attr("axis"))


def split(operands: Operands) -> tuple[Tensor, ...]:
    """Compute Split into the sizes that are written, or into equal parts."""
    x, axis = operands.x, operands.attr("axis", 0)
    sizes = operands.integers(1, "split")
    if sizes is None:
        count = operands.attr("num_outputs", len(operands.node.output))
        each = -(-int(x.shape[axis]) // count)
        sizes = [each] * (count - 1) + [int(x.shape[axis]) - each * (count - 1)]
    return tuple(torch.split(x, sizes, axis))


def slice_(operands: Operands) -> Tensor:
    """Compute Slice; what is taken backwards is turned round."""
    x = operands.x
    starts, ends = operands.integers(1, "starts") or [], operands.integers(2, "ends") or []
    axes = operands.integers(3, "axes") or list(range(len(starts)))
    steps = operands.integers(4, "steps") or [1] * len(starts)
    index: list[Any] = [slice(None)] * x.dim()
    turned = []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis, size = axis % x.dim(), int(x.shape[axis])
        taken = range(size)[slice(start, end if step > 0 or end >= -size else None, step)]
        if step < 0:
            turned.append(axis)
            taken = taken[::-1]
        index[axis] = slice(taken.start, taken.stop, taken.step) if len(taken) else slice(0, 0, 1)
    index = [slice(None) if item == slice(0, x.shape[axis], 1) else item for axis, item in enumerate(index)]
    if any(item != slice(None) for item in index):
        x = x[tuple(index)]
    return torch.flip(x, turned) if turned else x


def gather(operands: Operands) -> Tensor:
    """Compute Gather along one axis."""
    x, axis = operands.x, operands.attr("axis", 0) % operands.x.dim()
    value = operands.values[1]
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return x.select(axis, int(value))
    index = operands.tensor(1).long()
    index = torch.where(index < 0, index + x.shape[axis], index)
    if index.dim() == 1:
        return x.index_select(axis, index)
    picked = x.index_select(axis, index.reshape(-1))
    return picked.reshape([*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]])


def expand(operands: Operands) -> Tensor:
    """Compute Expand."""
    shape = tuple(int(size) for size in operands.host(1).reshape(-1))
    return operands.x.expand(torch.broadcast_shapes(tuple(operands.x.shape), shape))


def tile(operands: Operands) -> Tensor:
    """Compute Tile."""
    return operands.x.repeat([int(count) for count in operands.host(1).reshape(-1)])


def pad(operands: Operands) -> Tensor:
    """Compute Pad: zeros, another number, or what is at the edge."""
    x, mode = operands.x, operands.attr("mode", "constant")
    widths = operands.integers(1, "pads") or []
    axes = [axis % x.dim() for axis in operands.integers(3, "axes") or range(x.dim())]
    pairs = dict(zip(axes, zip(widths[: len(axes)], widths[len(axes) :], strict=True), strict=True))
    first = min((axis for axis, pair in pairs.items() if any(pair)), default=None)
    if first is None:
        return x
    flat = [width for axis in reversed(range(first, x.dim())) for width in pairs.get(axis, (0, 0))]
    if mode == "constant":
        return F.pad(x, flat, value=operands.number(2, "value", 0.0) or 0.0)
    if mode not in ("reflect", "edge") or first < 2 or len(flat) != 2 * (x.dim() - 2):
        raise NotCovered(f"padding by {mode} of the first axes")
    return F.pad(x, flat, mode="reflect" if mode == "reflect" else "replicate")


def depth_to_space(operands: Operands) -> Tensor:
    """Compute DepthToSpace in both orders."""
    x, block = operands.x, operands.attr("blocksize")
    if operands.attr("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, block)
    count, channels, height, width = x.shape
    parts = x.reshape(count, block, block, channels // block**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(count, channels // block**2, height * block, width * block)


def space_to_depth(operands: Operands) -> Tensor:
    """Compute SpaceToDepth."""
    x, block = operands.x, operands.attr("blocksize")
    count, channels, height, width = x.shape
    parts = x.reshape(count, channels, height // block, block, width // block, block).permute(
        0, 3, 5, 1, 2, 4
    )
    return parts.reshape(count, channels * block**2, height // block, width // block)


# --- pools -------------------------------------------------------------------------------------------

_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE: dict[int, Any] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_GLOBAL_AVERAGE: dict[int, Any] = {
    1: F.adaptive_avg_pool1d,
    2: F.adaptive_avg_pool2d,
    3: F.adaptive_avg_pool3d,
}
_GLOBAL_MAX: dict[int, Any] = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}


def max_pool(operands: Operands) -> Tensor:
    """Compute MaxPool without indices."""
    x, kernel = operands.x, operands.attr("kernel_shape")
    rank = len(kernel)
    if sum(bool(name) for name in operands.node.output) > 1 or rank not in _MAX:
        raise NotCovered("a MaxPool that gives indices")
    strides, dilations = operands.attr("strides", [1] * rank), operands.attr("dilations", [1] * rank)
    x, padding = padded(x, spatial_pads(operands, x, kernel, strides, dilations), -math.inf)
    if any(2 * width > size for width, size in zip(padding, kernel, strict=True)):
        x, padding = (
            F.pad(x, [w for width in reversed(padding) for w in (width, width)], value=-math.inf),
            [0] * rank,
        )
    return _MAX[rank](x, kernel, strides, padding, dilations, bool(operands.attr("ceil_mode", 0)))


def average_pool(operands: Operands) -> Tensor:
    """Compute AveragePool, with or without what it is padded with."""
    x, kernel = operands.x, operands.attr("kernel_shape")
    rank = len(kernel)
    strides, dilations = operands.attr("strides", [1] * rank), operands.attr("dilations", [1] * rank)
    pads, counts = (
        spatial_pads(operands, x, kernel, strides, dilations),
        bool(operands.attr("count_include_pad", 0)),
    )
    even = all(begin == end for begin, end in pads)
    ceil = bool(operands.attr("ceil_mode", 0))
    wide = any(2 * begin > size for (begin, _), size in zip(pads, kernel, strict=True))
    if (
        rank not in _AVERAGE
        or any(d != 1 for d in dilations)
        or ((not even or wide) and (ceil or not counts))
    ):
        raise NotCovered("an AveragePool that is padded at one end")
    if not even or wide:
        flat = [width for pair in reversed(pads) for width in pair]
        return _AVERAGE[rank](F.pad(x, flat), kernel, strides)
    return _AVERAGE[rank](x, kernel, strides, [begin for begin, _ in pads], ceil, counts)


def global_average_pool(operands: Operands) -> Tensor:
    """Compute GlobalAveragePool."""
    rank = operands.x.dim() - 2
    result: Tensor = _GLOBAL_AVERAGE[rank](operands.x, [1] * rank)
    return result


def global_max_pool(operands: Operands) -> Tensor:
    """Compute GlobalMaxPool."""
    rank = operands.x.dim() - 2
    result: Tensor = _GLOBAL_MAX[rank](operands.x, [1] * rank)
    return result


# --- reductions --------------------------------------------------------------------------------------


def reduce(operands: Operands) -> Tensor:
    """Compute Reduce* over axes that an attribute or an input gives."""
    x, kind = operands.x, operands.node.op_type
    axes, keeps = operands.integers(1, "axes"), bool(operands.attr("keepdims", 1))
    if not axes and operands.attr("noop_with_empty_axes", 0):
        return x
    axes = sorted(axis % x.dim() for axis in axes) if axes else list(range(x.dim()))
    if kind == "ReduceMean":
        return x.mean(axes, keepdim=keeps)
    if kind == "ReduceSum":
        return x.sum(axes, keepdim=keeps)
    if kind == "ReduceMax":
        return x.amax(axes, keepdim=keeps)
    if kind == "ReduceMin":
        return x.amin(axes, keepdim=keeps)
    if kind == "ReduceL2":
        return x.square().sum(axes, keepdim=keeps).sqrt()
    if kind == "ReduceSumSquare":
        return x.square().sum(axes, keepdim=keeps)
    if kind == "ReduceL1":
        return x.abs().sum(axes, keepdim=keeps)
    raise NotCovered(kind)


def softmax(operands: Operands) -> Tensor:
    """Compute Softmax and LogSoftmax; before opset 13 over all axes from one on."""
    x, old = operands.x, operands.opset < 13
    function: Any = F.softmax if operands.node.op_type == "Softmax" else F.log_softmax
    axis = operands.attr("axis", 1 if old else -1) % x.dim()
    if not old or math.prod(x.shape[axis + 1 :]) == 1:
        return function(x, axis)
    return function(x.flatten(axis), axis).reshape(x.shape)


# --- resizing ----------------------------------------------------------------------------------------


def resize(operands: Operands) -> Tensor:
    """Compute Resize and Upsample, where torch interpolates alike."""
    x = operands.x
    scales, sizes = _scales(operands, x)
    spatial = range(2, x.dim())
    if any(sizes[axis] != x.shape[axis] for axis in (0, 1)) or operands.attr("antialias", 0):
        raise NotCovered("a Resize of channels")
    size = [sizes[axis] for axis in spatial]
    if operands.attr("mode", "nearest") == "nearest":
        _check_nearest(operands, [scales[axis] for axis in spatial])
        return F.interpolate(x, size=size, mode="nearest")
    place = operands.attr("coordinate_transformation_mode", "half_pixel")
    exact = all(abs(sizes[axis] - scales[axis] * x.shape[axis]) < 1e-3 for axis in spatial)
    if operands.node.op_type == "Upsample" or operands.attr("mode") != "linear" or x.dim() > 5 or not exact:
        raise NotCovered("a Resize of this kind")
    if place not in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        raise NotCovered(f"a Resize by {place}")
    mode = {3: "linear", 4: "bilinear", 5: "trilinear"}[x.dim()]
    return F.interpolate(x, size=size, mode=mode, align_corners=place == "align_corners")


def _scales(operands: Operands, x: Tensor) -> tuple[list[float], list[int]]:
    """Return the factor and the new size of each axis."""
    before = [int(size) for size in x.shape]
    axes = [axis % x.dim() for axis in operands.attr("axes", list(range(x.dim())))]
    upsample = operands.node.op_type == "Upsample"
    place = 1 if upsample or operands.opset < 11 else 2
    scales, sizes = [1.0] * x.dim(), list(before)
    if place == 2 and operands.has(3) and operands.host(3).size:
        if operands.attr("keep_aspect_ratio_policy", "stretch") != "stretch":
            raise NotCovered("a Resize that keeps the aspect ratio")
        for axis, size in zip(axes, operands.host(3).reshape(-1), strict=True):
            sizes[axis], scales[axis] = int(size), int(size) / before[axis]
        return scales, sizes
    written = operands.host(place) if operands.has(place) else np.array(operands.attr("scales"))
    for axis, scale in zip(axes, written.reshape(-1), strict=True):
        scales[axis], sizes[axis] = float(scale), math.floor(before[axis] * float(scale) + 1e-6)
    return scales, sizes


def _check_nearest(operands: Operands, scales: list[float]) -> None:
    old = operands.node.op_type == "Upsample" or operands.opset < 11
    place = operands.attr("coordinate_transformation_mode", "asymmetric" if old else "half_pixel")
    rounding = operands.attr("nearest_mode", "floor" if old else "round_prefer_floor")
    integral = all(scale == int(scale) for scale in scales)
    if place == "asymmetric" and rounding == "floor":
        return
    if (
        integral
        and place in ("half_pixel", "pytorch_half_pixel")
        and rounding in ("round_prefer_floor", "round_prefer_ceil")
    ):
        return
    raise NotCovered(f"a Resize by {place} with {rounding}")
