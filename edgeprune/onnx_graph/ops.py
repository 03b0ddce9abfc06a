"""Operators of ONNX as calls of torch."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import Tensor

from edgeprune.onnx_graph import layers, shapes
from edgeprune.onnx_graph.operands import NotCovered, Operands

Function = Callable[[Operands], Any]


def _unary(function: Callable[[Tensor], Tensor]) -> Function:
    return lambda operands: function(operands.x)


def _binary(function: Callable[[Any, Any], Tensor]) -> Function:
    def run(operands: Operands) -> Tensor:
        first, second = operands.values[:2]
        if isinstance(first, Tensor):
            return function(first, operands.factor(1, first.dim()))
        rank = second.dim() if isinstance(second, Tensor) else 0
        return function(operands.factor(0, rank), operands.tensor(1))

    return run


def _variadic(function: Callable[[Any, Any], Tensor]) -> Function:
    def run(operands: Operands) -> Tensor:
        total = operands.tensor(0)
        for position in range(1, len(operands)):
            total = function(total, operands.factor(position, total.dim()))
        return total

    return run


def _mean(operands: Operands) -> Tensor:
    total: Tensor = _variadic(torch.add)(operands)
    return total / len(operands)


def _extreme(name: str) -> Callable[[Tensor, Any], Tensor]:
    pair: Any = torch.minimum if name == "max" else torch.maximum
    return lambda a, b: pair(a, b) if isinstance(b, Tensor) else torch.clamp(a, **{name: b})


def clip(operands: Operands) -> Tensor:
    """Compute Clip."""
    low, high = operands.number(1, "min"), operands.number(2, "max")
    x = operands.x
    if low == 0 and high == 6:
        return F.relu6(x)
    if low == 0 and (high is None or high > 1e30):
        return F.relu(x)
    return x if low is None and high is None else torch.clamp(x, low, high)


def hard_sigmoid(operands: Operands) -> Tensor:
    """Compute HardSigmoid."""
    alpha, beta = operands.attr("alpha", 0.2), operands.attr("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return F.hardsigmoid(operands.x)
    return torch.clamp(operands.x * alpha + beta, 0.0, 1.0)


def cast(operands: Operands) -> Tensor:
    """Compute Cast; between floating-point types nothing is done, since all is computed in one."""
    kind = onnx.helper.tensor_dtype_to_np_dtype(operands.attr("to"))
    x = operands.x
    if np.issubdtype(kind, np.floating) or kind.name == "bfloat16":
        return x if x.is_floating_point() else x.to(operands.dtype)
    return x.to(getattr(torch, kind.name))


def gelu(operands: Operands) -> Tensor:
    """Compute Gelu."""
    return F.gelu(operands.x, approximate=operands.attr("approximate", "none"))


def leaky_relu(operands: Operands) -> Tensor:
    """Compute LeakyRelu."""
    return F.leaky_relu(operands.x, operands.attr("alpha", 0.01))


def where(operands: Operands) -> Tensor:
    """Compute Where."""
    return torch.where(operands.tensor(0), operands.tensor(1), operands.tensor(2))


def dropout(operands: Operands) -> Tensor:
    """Compute Dropout at inference."""
    if sum(bool(name) for name in operands.node.output) > 1:
        raise NotCovered("a Dropout that gives its mask")
    return operands.x


def local_response_norm(operands: Operands) -> Tensor:
    """Compute LRN."""
    alpha, beta, bias = operands.attr("alpha", 1e-4), operands.attr("beta", 0.75), operands.attr("bias", 1.0)
    return F.local_response_norm(operands.x, operands.attr("size"), alpha, beta, bias)


OPS: dict[str, Function] = {
    "Relu": _unary(F.relu), "Sigmoid": _unary(torch.sigmoid), "Tanh": _unary(torch.tanh), "Exp": _unary(torch.exp),
    "Log": _unary(torch.log), "Sqrt": _unary(torch.sqrt), "Abs": _unary(torch.abs), "Neg": _unary(torch.neg),
    "Reciprocal": _unary(torch.reciprocal), "Floor": _unary(torch.floor), "Ceil": _unary(torch.ceil),
    "Round": _unary(torch.round), "Sign": _unary(torch.sign), "Sin": _unary(torch.sin), "Cos": _unary(torch.cos),
    "Erf": _unary(torch.erf), "Not": _unary(torch.logical_not), "Softplus": _unary(F.softplus),
    "Softsign": _unary(F.softsign), "Mish": _unary(F.mish), "HardSwish": _unary(F.hardswish),
    "Elu": lambda o: F.elu(o.x, o.attr("alpha", 1.0)), "Celu": lambda o: F.celu(o.x, o.attr("alpha", 1.0)),
    "Selu": _unary(F.selu), "LeakyRelu": leaky_relu, "HardSigmoid": hard_sigmoid, "Gelu": gelu, "Clip": clip,
    "Identity": lambda o: o.x, "Dropout": dropout, "Cast": cast, "LRN": local_response_norm,
    "Add": _binary(operator.add), "Sub": _binary(operator.sub), "Mul": _binary(operator.mul),
    "Div": _binary(operator.truediv),
    "Pow": _binary(torch.pow), "Equal": _binary(torch.eq), "Greater": _binary(torch.gt), "Less": _binary(torch.lt),
    "GreaterOrEqual": _binary(torch.ge), "LessOrEqual": _binary(torch.le), "And": _binary(torch.logical_and),
    "Or": _binary(torch.logical_or), "Sum": _variadic(torch.add), "Mean": _mean, "Min": _variadic(_extreme("max")),
    "Max": _variadic(_extreme("min")), "Where": where,
    "Conv": layers.conv, "ConvTranspose": layers.conv_transpose, "BatchNormalization": layers.batch_norm,
    "InstanceNormalization": layers.instance_norm, "LayerNormalization": layers.layer_norm,
    "GroupNormalization": layers.group_norm, "PRelu": layers.prelu, "Gemm": layers.gemm, "MatMul": layers.matmul,
    "MatMul by a constant": layers.linear,
    "Reshape": shapes.reshape, "Flatten": shapes.flatten, "Transpose": shapes.transpose, "Squeeze": shapes.squeeze,
    "Unsqueeze": shapes.unsqueeze, "Concat": shapes.concat, "Split": shapes.split, "Slice": shapes.slice_,
    "Gather": shapes.gather, "Expand": shapes.expand, "Tile": shapes.tile, "Pad": shapes.pad,
    "DepthToSpace": shapes.depth_to_space, "SpaceToDepth": shapes.space_to_depth, "MaxPool": shapes.max_pool,
    "AveragePool": shapes.average_pool, "GlobalAveragePool": shapes.global_average_pool,
    "GlobalMaxPool": shapes.global_max_pool, "Softmax": shapes.softmax, "LogSoftmax": shapes.softmax,
    "Resize": shapes.resize, "Upsample": shapes.resize,
    **dict.fromkeys(
        ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare"), shapes.reduce
    ),
}  # fmt: skip

# Operators that compute each number of numbers at the same place.
ELEMENTWISE = frozenset(
    ("Add", "Sub", "Mul", "Div", "Pow", "Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "And", "Or", "Sum",
     "Mean", "Min", "Max", "Where")
)  # fmt: skip

# Operators that move elements about and change none of them: labels of channels are moved by the same call.
MOVERS = {
    "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Concat", "Split", "Slice", "Gather", "Expand", "Tile",
    "DepthToSpace", "SpaceToDepth",
}  # fmt: skip
