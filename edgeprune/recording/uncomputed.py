"""Results of the right shape for a network's costly calls, where nothing but their shapes is recorded.

A record holds no numbers that depend on the input. So a convolution need not be computed while it is recorded, as long
as nothing in the network asks for what is in a tensor: then it is recorded again, on its own numbers.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version
from torch.nn import functional as F

# One tensor in, one of its shape and type out.
_ALIKE = {
    F.silu,
    F.gelu,
    F.hardswish,
    F.hardsigmoid,
    F.relu6,
    F.mish,
    F.elu,
    F.leaky_relu,
    torch.sigmoid,
    torch.tanh,
    torch.relu,
    F.relu,
}
_IN_PLACE = {F.relu, F.relu6, F.hardtanh, F.silu, F.hardswish, F.leaky_relu, F.elu}
_TYPES: dict[torch.dtype, Any] = {torch.float32: np.float32, torch.float64: np.float64}
_CONVOLUTIONS = {torch.conv1d: 1, torch.conv2d: 2, torch.conv3d: 3}


def stand_in(func: Any, args: Any, kwargs: Any) -> Tensor | None:
    """Return zeros of the shape that ``func`` gives; None where it has to be called to know, or may raise."""
    if "input" in kwargs:
        return None
    if func in _CONVOLUTIONS:
        return _convolution(_CONVOLUTIONS[func], *args, **kwargs)
    if func is F.batch_norm:
        return _batch_norm(*args, **kwargs)
    if func is F.linear:
        return _linear(*args, **kwargs)
    if func in _ALIKE:
        plain = len(args) == 1 and not kwargs.get("inplace") and "out" not in kwargs and _is_plain(args[0])
        return _zeros(args[0].shape, args[0]) if plain else None
    return None


def written_in_place(func: Any, args: Any, kwargs: Any) -> Tensor | None:
    """Return the tensor that ``func`` writes its own values into, marked as written; None for another call."""
    inplace = func in _IN_PLACE and kwargs.get("inplace") and len(args) >= 1 and _is_plain(args[0])
    if not inplace or args[0].is_inference():
        return None
    increment_version(args[0])
    written: Tensor = args[0]
    return written


def _zeros(shape: Sequence[int], like: Tensor) -> Tensor:
    """Zeros of the type of ``like``; on a CPU they take no memory until they are written into."""
    if like.is_cpu:
        return torch.from_numpy(np.zeros(shape, _TYPES[like.dtype]))
    return like.new_zeros(shape)


def _is_plain(tensor: Any) -> bool:
    return _is_stored_plainly(tensor) and not torch.is_autocast_enabled(tensor.device.type)


def _is_stored_plainly(tensor: Any) -> bool:
    return (
        type(tensor) in (Tensor, nn.Parameter)
        and tensor.dtype in _TYPES
        and tensor.layout is torch.strided
        and tensor.is_contiguous()
    )


def _agree(x: Any, weight: Any, bias: Any) -> bool:
    return (
        _is_plain(x)
        and _is_stored_plainly(weight)
        and x.dtype == weight.dtype
        and x.device == weight.device
        and (bias is None or (bias.shape == weight.shape[:1] and bias.dtype == x.dtype))
    )


def _convolution(
    axes: int,
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
) -> Tensor | None:
    if not _agree(x, weight, bias) or isinstance(padding, str) or x.dim() != axes + 2:
        return None
    if weight.dim() != axes + 2 or x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        return None
    steps, pads, gaps = (_each(value, axes) for value in (stride, padding, dilation))
    sides = [
        (size + 2 * pad - gap * (kernel - 1) - 1) // step + 1
        for size, kernel, step, pad, gap in zip(x.shape[2:], weight.shape[2:], steps, pads, gaps, strict=True)
    ]
    return _zeros((x.shape[0], weight.shape[0], *sides), x) if min(sides) > 0 else None


def _each(value: Any, axes: int) -> tuple[int, ...]:
    return (value,) * axes if isinstance(value, int) else tuple(value) * (axes if len(value) == 1 else 1)


def _linear(x: Any, weight: Any, bias: Any = None) -> Tensor | None:
    fits = _agree(x, weight, bias) and weight.dim() == 2 and x.dim() >= 1
    if not fits or x.shape[-1] != weight.shape[1]:
        return None
    return _zeros((*x.shape[:-1], weight.shape[0]), x)


def _batch_norm(
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: Any = False,
    momentum: Any = 0.1,
    eps: Any = 1e-5,
) -> Tensor | None:
    del momentum, eps
    if training or not _is_plain(x) or x.dim() < 2:
        return None
    vectors = [v for v in (running_mean, running_var, weight, bias) if v is not None]
    size = x.shape[1:2]
    fits = all(_is_stored_plainly(v) and v.shape == size and v.dtype == x.dtype for v in vectors)
    return _zeros(x.shape, x) if fits else None
