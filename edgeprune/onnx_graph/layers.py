"""Operators with weights: convolutions, products, norms."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeprune.onnx_graph.operands import NotCovered, Operands

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def spatial_pads(
    operands: Operands, x: Tensor, kernel: list[int], strides: list[int], dilations: list[int]
) -> list[tuple[int, int]]:
    """Return (begin, end) of the padding of each spatial axis, from `pads` or `auto_pad`.

    Args:
        operands: of the convolution or pool.
        x: its input.
        kernel: sizes of its window.
        strides: its steps.
        dilations: of its window.
    """
    rank = len(kernel)
    automatic = operands.attr("auto_pad", "NOTSET")
    if automatic in ("NOTSET", ""):
        pads = operands.attr("pads", [0] * 2 * rank)
        return [(pads[i], pads[i + rank]) for i in range(rank)]
    if automatic == "VALID":
        return [(0, 0)] * rank
    result = []
    for axis in range(rank):
        size, span = int(x.shape[2 + axis]), (kernel[axis] - 1) * dilations[axis] + 1
        total = max(0, (-(-size // strides[axis]) - 1) * strides[axis] + span - size)
        small, large = total // 2, total - total // 2
        result.append((small, large) if automatic == "SAME_UPPER" else (large, small))
    return result


def padded(x: Tensor, pads: list[tuple[int, int]], value: float = 0.0) -> tuple[Tensor, list[int]]:
    """Pad an image where its two ends differ; return it with the padding that is left to the layer.

    Args:
        x: the image.
        pads: of each spatial axis.
        value: what is padded with.
    """
    if all(begin == end for begin, end in pads):
        return x, [begin for begin, _ in pads]
    return F.pad(x, [width for pair in reversed(pads) for width in pair], value=value), [0] * len(pads)


def conv(operands: Operands) -> Tensor:
    """Compute Conv."""
    x, weight = operands.x, operands.tensor(1)
    rank = weight.dim() - 2
    if rank not in _CONV:
        raise NotCovered(f"a convolution over {rank} axes")
    strides, dilations = operands.attr("strides", [1] * rank), operands.attr("dilations", [1] * rank)
    pads = spatial_pads(operands, x, list(weight.shape[2:]), strides, dilations)
    x, padding = padded(x, pads)
    return _CONV[rank](
        x, weight, operands.optional(2), strides, padding, dilations, operands.attr("group", 1)
    )


def conv_transpose(operands: Operands) -> Tensor:
    """Compute ConvTranspose; what its padding cuts off is sliced off where the two ends differ."""
    x, weight = operands.x, operands.tensor(1)
    rank = weight.dim() - 2
    if rank not in _TRANSPOSED:
        raise NotCovered(f"a transposed convolution over {rank} axes")
    strides, dilations = operands.attr("strides", [1] * rank), operands.attr("dilations", [1] * rank)
    extra = operands.attr("output_padding", [0] * rank)
    pads, extra = _transposed_pads(operands, x, list(weight.shape[2:]), strides, dilations, extra)
    group = operands.attr("group", 1)
    even = all(begin == end for begin, end in pads)
    padding = [begin for begin, _ in pads] if even else [0] * rank
    result = _TRANSPOSED[rank](x, weight, operands.optional(2), strides, padding, extra, group, dilations)
    return result if even else F.pad(result, [-width for pair in reversed(pads) for width in pair])


def _transposed_pads(
    operands: Operands,
    x: Tensor,
    kernel: list[int],
    strides: list[int],
    dilations: list[int],
    extra: list[int],
) -> tuple[list[tuple[int, int]], list[int]]:
    rank = len(kernel)
    automatic, target_sizes = operands.attr("auto_pad", "NOTSET"), operands.attr("output_shape")
    if target_sizes is None and automatic in ("NOTSET", "", "VALID"):
        return spatial_pads(operands, x, kernel, strides, dilations), extra
    pads = []
    for axis in range(rank):
        size = int(x.shape[2 + axis])
        full = strides[axis] * (size - 1) + extra[axis] + (kernel[axis] - 1) * dilations[axis] + 1
        total = full - (target_sizes[-rank:][axis] if target_sizes else size * strides[axis])
        if total < 0:
            raise NotCovered("a transposed convolution with a larger output_shape")
        small, large = total // 2, total - total // 2
        pads.append((small, large) if automatic == "SAME_UPPER" else (large, small))
    return pads, extra


def batch_norm(operands: Operands) -> Tensor:
    """Compute BatchNormalization as it is at inference."""
    if operands.attr("training_mode", 0):
        raise NotCovered("a BatchNormalization that trains")
    scale, shift, mean, variance = (operands.tensor(position) for position in (1, 2, 3, 4))
    return F.batch_norm(operands.x, mean, variance, scale, shift, False, 0.0, operands.attr("epsilon", 1e-5))


def instance_norm(operands: Operands) -> Tensor:
    """Compute InstanceNormalization."""
    return F.instance_norm(
        operands.x, weight=operands.tensor(1), bias=operands.tensor(2), eps=operands.attr("epsilon", 1e-5)
    )


def layer_norm(operands: Operands) -> Tensor:
    """Compute LayerNormalization over the last axes."""
    x = operands.x
    axis = operands.attr("axis", -1) % x.dim()
    shape = list(x.shape[axis:])
    weight = operands.optional(1)
    if weight is not None and list(weight.shape) != shape or len(operands.node.output) > 1:
        raise NotCovered("a LayerNormalization whose scale is broadcast")
    return F.layer_norm(x, shape, weight, operands.optional(2), operands.attr("epsilon", 1e-5))


def group_norm(operands: Operands) -> Tensor:
    """Compute GroupNormalization with a factor for each channel."""
    if operands.opset < 21:
        raise NotCovered("a GroupNormalization with a factor for each group")
    groups = operands.attr("num_groups")
    return F.group_norm(
        operands.x, groups, operands.tensor(1), operands.tensor(2), operands.attr("epsilon", 1e-5)
    )


def prelu(operands: Operands) -> Tensor:
    """Compute PRelu with one slope, or one for each channel."""
    slope = operands.tensor(1)
    if slope.dim() > 1:
        raise NotCovered("a PRelu whose slope is not one for each channel")
    return F.prelu(operands.x, slope.reshape(1) if slope.dim() == 0 else slope)


def linear_weight_is_first(attributes: dict[str, Any]) -> bool:
    """Return whether a Gemm's weight lies as torch's linear layer has it: outputs first."""
    return bool(attributes.get("transB", 0))


def gemm(operands: Operands) -> Tensor:
    """Compute Gemm; its weight is laid as a linear layer's when the network is made."""
    x = operands.x.t() if operands.attr("transA", 0) else operands.x
    alpha, beta = operands.attr("alpha", 1.0), operands.attr("beta", 1.0)
    weight, bias = operands.tensor(1), operands.optional(2)
    simple = alpha == 1 and beta == 1 and (bias is None or bias.dim() == 1)
    if simple:
        return F.linear(x, weight, bias)
    result = F.linear(x, weight)
    result = result if alpha == 1 else result * alpha
    if bias is None:
        return result
    return result + (bias if beta == 1 else bias * beta)


def linear(operands: Operands) -> Tensor:
    """Compute MatMul by a constant matrix, laid as a linear layer's weight."""
    return F.linear(operands.x, operands.tensor(1))


def matmul(operands: Operands) -> Tensor:
    """Compute MatMul of two tensors that are computed."""
    return torch.matmul(operands.tensor(0), operands.tensor(1))
