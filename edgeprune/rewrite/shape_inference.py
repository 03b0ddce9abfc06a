"""Tensors with a shape and no memory: what a trace carries instead of activations.

Only the shape of an activation matters to a trace. So common layers are not run but their shape is worked
out, and whatever else comes out of an operation is replaced by zeros of stride 0.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.fx as fx
from torch import Tensor, nn

from edgeprune.graph.ops import op_name
from edgeprune.rewrite.history import has_hooks

_SAME_SHAPE_LAYERS = (
    *(nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Hardswish, nn.Hardsigmoid, nn.LeakyReLU),
    *(nn.ELU, nn.Mish, nn.Identity, nn.modules.dropout._DropoutNd),
)
_SAME_SHAPE = {"relu", "relu6", "gelu", "silu", "sigmoid", "tanh", "hardswish", "hardsigmoid", "leaky_relu"}
_BROADCAST = {"add", "sub", "mul", "div", "maximum", "minimum"}
_NORM_DIMS = {nn.BatchNorm1d: (2, 3), nn.BatchNorm2d: (4,), nn.BatchNorm3d: (5,)}
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def stand_in(value: Any, device: torch.device | None = None) -> Any:
    """Replace every tensor in plain tuples, lists and dicts by zeros of stride 0, on ``device`` if given."""
    return _each(value, lambda t: torch.zeros((), dtype=t.dtype, device=device or t.device).expand(t.shape))


def dense(value: Any) -> Any:
    """Random numbers (zeros for integers) of their own memory, for operations that refuse a stand-in."""
    return _each(value, _random)


def _random(tensor: Tensor) -> Tensor:
    if tensor.is_floating_point():
        return torch.rand(tensor.shape, dtype=tensor.dtype, device=tensor.device)
    return torch.zeros(tensor.shape, dtype=tensor.dtype, device=tensor.device)


def _each(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if type(value) in (tuple, list):
        return type(value)(_each(item, function) for item in value)
    if type(value) is dict:
        return {key: _each(item, function) for key, item in value.items()}
    return value


def worked_out(node: fx.Node, layer: nn.Module | None, args: Any, kwargs: Any) -> Tensor | None:
    """Return a stand-in for a call's result by shape alone; None where the call must be run.

    Args:
        node: the call.
        layer: its layer, if it is one.
        args: positional arguments, with stand-ins.
        kwargs: keyword arguments, likewise.
    """
    if kwargs or not args or not isinstance(args[0], Tensor) or not args[0].is_floating_point():
        return None
    shape = _layer_shape(layer, args[0]) if layer is not None else _function_shape(op_name(node), args)
    x = args[0]
    return None if shape is None else torch.zeros((), dtype=x.dtype, device=x.device).expand(shape)


def _function_shape(name: str, args: Any) -> tuple[int, ...] | None:
    if name in _SAME_SHAPE and not any(isinstance(a, Tensor) for a in args[1:]):
        return tuple(args[0].shape)
    if name not in _BROADCAST or len(args) != 2:
        return None
    x, y = args
    if isinstance(y, (int, float)):
        return tuple(x.shape)
    if not isinstance(y, Tensor) or y.dtype != x.dtype or y.device != x.device:
        return None
    try:
        return tuple(torch.broadcast_shapes(x.shape, y.shape))
    except RuntimeError:
        return None


def _layer_shape(layer: nn.Module, x: Tensor) -> tuple[int, ...] | None:
    kind, own = type(layer), vars(layer)
    if has_hooks(layer):
        return None
    if isinstance(layer, _SAME_SHAPE_LAYERS):
        return tuple(x.shape)
    if kind is nn.AdaptiveAvgPool2d and own["output_size"] in (1, (1, 1)) and x.dim() == 4:
        return (*x.shape[:2], 1, 1)
    if kind is nn.Linear:
        fits = x.dtype == layer.weight.dtype and x.shape[-1:] == (layer.in_features,)
        return (*x.shape[:-1], own["out_features"]) if fits else None
    if kind in _NORM_DIMS:
        fits = x.dim() in _NORM_DIMS[kind] and x.shape[1] == layer.num_features
        kept = layer.running_mean is not None and not layer.training
        return tuple(x.shape) if fits and kept and x.dtype == layer.running_mean.dtype else None
    if kind in _CONVOLUTIONS:
        return _convolution_shape(layer, x)  # type: ignore[arg-type]
    return None


def _convolution_shape(layer: nn.modules.conv._ConvNd, x: Tensor) -> tuple[int, ...] | None:
    dims = len(layer.kernel_size)
    if x.dim() != dims + 2 or x.shape[1] != layer.in_channels or x.dtype != layer.weight.dtype:
        return None
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        return None
    options = zip(x.shape[2:], layer.kernel_size, layer.stride, layer.padding, layer.dilation, strict=True)
    places = [(size + 2 * p - d * (k - 1) - 1) // s + 1 for size, k, s, p, d in options]
    return (x.shape[0], layer.out_channels, *places) if min(places) > 0 else None
