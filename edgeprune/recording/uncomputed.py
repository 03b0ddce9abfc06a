"""Results of the right shape for a network's costly calls, where nothing but their shapes is recorded.

A record holds no numbers that depend on the input. So a convolution need not be computed while it is recorded, as long
as nothing in the network asks for what is in a tensor: then it is recorded again, on its own numbers.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
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


class Blank:
    """Memory that the stand-ins of one run lie in, zeros at first: each is a tensor by itself, but nobody reads it."""

    def __init__(self) -> None:
        self._numbers: dict[torch.dtype, NDArray[Any]] = {}

    def tensor(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Return a tensor of that shape, of the type of ``like`` and where it is."""
        if not like.is_cpu:
            return like.new_zeros(shape)
        size, numbers = math.prod(shape), self._numbers.get(like.dtype)
        if numbers is None or len(numbers) < size:
            numbers = self._numbers[like.dtype] = np.zeros(size, _TYPES[like.dtype])
        return torch.from_numpy(numbers[:size].reshape(shape))


def stand_in(func: Any, args: Any, kwargs: Any, blank: Blank | None = None) -> Tensor | None:
    """Return a tensor of the shape that ``func`` gives; None where it has to be called to know, or may raise.

    Args:
        func: what is called.
        args: with which arguments.
        kwargs: and by name.
        blank: where to put it; in memory of its own by default, which is zeros.
    """
    shape_of = _SHAPES.get(func)
    if shape_of is None or "input" in kwargs:
        return None
    shape = shape_of(*args, **kwargs)
    return None if shape is None else (blank or Blank()).tensor(shape, args[0])


def written_in_place(func: Any, args: Any, kwargs: Any) -> Tensor | None:
    """Return the tensor that ``func`` writes its own values into, marked as written; None for another call.

    Args:
        func: the function, method or overload that is called.
        args: its positional arguments.
        kwargs: its keyword arguments.
    """
    inplace = func in _IN_PLACE and kwargs.get("inplace") and len(args) >= 1 and _is_plain(args[0])
    if not inplace or args[0].is_inference():
        return None
    increment_version(args[0])
    written: Tensor = args[0]
    return written


def _alike(x: Any, *others: Any, **named: Any) -> Sequence[int] | None:
    plain = not others and not named.get("inplace") and "out" not in named and _is_plain(x)
    return x.shape if plain else None


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
) -> Sequence[int] | None:
    if not _agree(x, weight, bias) or isinstance(padding, str) or x.dim() != axes + 2:
        return None
    if weight.dim() != axes + 2 or x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        return None
    steps, pads, gaps = (_each(value, axes) for value in (stride, padding, dilation))
    sides = [
        (size + 2 * pad - gap * (kernel - 1) - 1) // step + 1
        for size, kernel, step, pad, gap in zip(x.shape[2:], weight.shape[2:], steps, pads, gaps, strict=True)
    ]
    return (x.shape[0], weight.shape[0], *sides) if min(sides) > 0 else None


def _each(value: Any, axes: int) -> tuple[int, ...]:
    return (value,) * axes if isinstance(value, int) else tuple(value) * (axes if len(value) == 1 else 1)


def _linear(x: Any, weight: Any, bias: Any = None) -> Sequence[int] | None:
    fits = _agree(x, weight, bias) and weight.dim() == 2 and x.dim() >= 1
    if not fits or x.shape[-1] != weight.shape[1]:
        return None
    return (*x.shape[:-1], weight.shape[0])


def _batch_norm(
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: Any = False,
    momentum: Any = 0.1,
    eps: Any = 1e-5,
) -> Sequence[int] | None:
    del momentum, eps
    if training or not _is_plain(x) or x.dim() < 2:
        return None
    vectors = [v for v in (running_mean, running_var, weight, bias) if v is not None]
    size = x.shape[1:2]
    fits = all(_is_stored_plainly(v) and v.shape == size and v.dtype == x.dtype for v in vectors)
    return x.shape if fits else None


def _adaptive_average(x: Any, output_size: Any) -> Sequence[int] | None:
    sides = (output_size, output_size) if isinstance(output_size, int) else output_size
    fits = (
        isinstance(sides, (tuple, list)) and len(sides) == 2 and all(type(s) is int and s > 0 for s in sides)
    )
    if not fits or not _is_plain(x) or x.dim() != 4 or 0 in x.shape:
        return None
    return (*x.shape[:2], *sides)


# By function, what gives the shape of its result.
_SHAPES: dict[Any, Callable[..., Sequence[int] | None]] = {
    **dict.fromkeys(_ALIKE, _alike),
    **{getattr(torch, f"conv{axes}d"): partial(_convolution, axes) for axes in (1, 2, 3)},
    F.batch_norm: _batch_norm,
    F.linear: _linear,
    F.adaptive_avg_pool2d: _adaptive_average,
}
