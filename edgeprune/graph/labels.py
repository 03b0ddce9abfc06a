"""Label tensors: an integer for every channel of every tensor.

A label tensor has the shape of the tensor it stands for, but axes along which labels do not change
have stride 0, so it costs as much memory as it has channels. Label 0 means "constant": it is never
removed and ties nothing.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor


def core(labels: Tensor) -> Tensor:
    """Return the same labels with every stride-0 axis narrowed to length 1."""
    global _latest
    latest = _latest  # several questions about one tensor come one after the other
    if latest[0] is labels:
        return latest[1]
    small = _core(labels)
    _latest = labels, small
    return small


_latest: tuple[Tensor | None, Tensor] = None, torch.zeros(())


def _core(labels: Tensor) -> Tensor:
    shape, strides = labels.shape, labels.stride()
    if 0 not in strides:
        return labels
    small = [1 if stride == 0 and size > 1 else size for size, stride in zip(shape, strides, strict=True)]
    return labels.as_strided(small, strides, labels.storage_offset())


def spread(vector: Tensor, axis: int, shape: tuple[int, ...]) -> Tensor:
    """Lay a label vector along ``axis``, constant along the others.

    Args:
        vector: the labels.
        axis: the axis they belong to.
        shape: shape of the tensor to return; it is ``len(vector)`` along ``axis``.
    """
    view = [1] * len(shape)
    view[axis] = len(vector)
    return vector.view(view).expand(shape)


def compress(labels: Any) -> Any:
    """Give stride 0 to every axis along which the labels are in fact constant."""
    if isinstance(labels, (tuple, list)):
        return tuple(compress(item) for item in labels)
    if isinstance(labels, dict):
        return {key: compress(item) for key, item in labels.items()}
    if not isinstance(labels, Tensor):
        return labels
    small = before = core(labels)
    for axis, size in enumerate(before.shape):
        if size > 1 and _is_constant(small, axis):
            small = small.narrow(axis, 0, 1)
    return labels if small is before else small.expand(labels.shape)


def _is_constant(small: Tensor, axis: int) -> bool:
    """Tell whether labels are the same all along an axis; in numpy, which is quicker with so few numbers."""
    numbers = small.numpy()
    if not numbers.size:
        return True
    first = numbers[(slice(None),) * axis + (slice(0, 1),)]
    second = numbers[(slice(None),) * axis + (slice(1, 2),)]
    if second.flat[0] != first.flat[0]:
        return False
    return bool((numbers == first).all())


def constants_like(value: Any) -> Any:
    """Label 0 for every element of every tensor in ``value``."""
    if isinstance(value, Tensor):
        return torch.zeros((), dtype=torch.long).expand(value.shape)
    if isinstance(value, (tuple, list)):
        return tuple(constants_like(item) for item in value)
    if isinstance(value, dict):
        return {key: constants_like(item) for key, item in value.items()}
    return value


def tensors_in(value: Any) -> list[Tensor]:
    """Return all tensors in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return [value]
    tensors: list[Tensor] = []
    _gather(value, tensors)
    return tensors


def _gather(value: Any, tensors: list[Tensor]) -> None:
    if isinstance(value, Tensor):
        tensors.append(value)
    elif isinstance(value, (tuple, list)):
        for item in value:
            _gather(item, tensors)
    elif isinstance(value, dict):
        for item in value.values():
            _gather(item, tensors)


def flat(value: Any) -> list[Any]:
    """Return all leaves of nested tuples, lists and dicts."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [leaf for item in value for leaf in flat(item)]
    return [value]


def mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    """Apply ``function`` to every leaf of nested tuples, lists and dicts; lists come back as tuples."""
    if isinstance(value, (tuple, list)):
        return tuple(mapped(item, function) for item in value)
    if isinstance(value, dict):
        return {key: mapped(item, function) for key, item in value.items()}
    return function(value)


def vector_along(labels: Tensor, axis: int) -> Tensor | None:
    """Return the labels along ``axis`` if they do not depend on the other axes (label 0 aside), else None."""
    small = core(labels)
    length, size = small.shape[axis], labels.shape[axis]
    if small.numel() == length:
        vector = small.reshape(-1)
    elif small.numel() == 0:
        return None
    else:
        flattened = small.movedim(axis, 0).reshape(length, -1)
        vector = flattened.max(1).values
        if not bool(((flattened == vector[:, None]) | (flattened == 0)).all()):
            return None
    return vector.expand(size) if length == 1 else vector


def wide_axes(labels: Tensor) -> list[int]:
    """Return the axes along which the labels change."""
    small = core(labels)
    return [axis for axis, size in enumerate(small.shape) if size > 1 and not _is_constant(small, axis)]


def varies(labels: Tensor, axis: int) -> bool:
    """Tell whether the labels change along ``axis``."""
    if labels.shape[axis] < 2 or labels.stride(axis) == 0:
        return False
    return not _is_constant(core(labels), axis % labels.dim())


def shared_axes(tensors: list[Tensor], skip: int) -> list[int]:
    """Return the axes other than ``skip`` along which all ``tensors`` are constant by stride."""
    return [
        axis
        for axis in range(tensors[0].dim())
        if axis != skip and all(t.shape[axis] > 1 and t.stride(axis) == 0 for t in tensors)
    ]


def cat(tensors: list[Tensor], axis: int) -> Tensor:
    """Concatenate label tensors without writing out the axes that all of them are constant along."""
    axis %= tensors[0].dim()
    thin = shared_axes(tensors, axis)
    shape = list(tensors[0].shape)
    shape[axis] = sum(t.shape[axis] for t in tensors)
    for other in thin:
        tensors = [t.narrow(other, 0, 1) for t in tensors]
    return torch.cat(tensors, axis).expand(shape)


def run_on_labels(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Run a mover on label tensors; through float64 (exact to 2^53) where it has no integer kernel.

    Args:
        function: the mover.
        args: its positional arguments, with label tensors in place of values.
        kwargs: its keyword arguments, likewise.
    """
    try:
        return function(*args, **kwargs)
    except (RuntimeError, NotImplementedError) as first:
        if "not implemented" not in str(first):
            raise
        back = torch.fx.node.map_aggregate
        double = back(args, lambda v: v.double() if isinstance(v, Tensor) else v)
        result = function(*double, **kwargs)
        return back(result, lambda v: v.long() if isinstance(v, Tensor) else v)


def alive_indices(labels: Tensor, kept: Callable[[Tensor], Tensor]) -> list[Tensor] | None:
    """Return the surviving indices of each axis; None if the survivors do not form a grid.

    An axis that loses nothing is given as all its indices.
    """
    small = core(labels)
    alive = kept(small).numpy()
    if alive.all():
        return [every(size) for size in labels.shape]
    if not alive.any():
        return _nothing_left(small, labels)
    wide = [axis for axis, size in enumerate(small.shape) if size > 1]
    axes, rest = [every(size) for size in labels.shape], alive
    for axis in wide:
        places = np.flatnonzero(alive.any(axis=tuple(other for other in wide if other != axis)))
        axes[axis] = torch.from_numpy(places)
        rest = rest.take(places, axis)
    return axes if rest.all() else None


@lru_cache(maxsize=1 << 12)
def every(size: int) -> Tensor:
    """Return all indices of an axis; not to be written into."""
    return torch.arange(size)


def _nothing_left(small: Tensor, labels: Tensor) -> list[Tensor]:
    """Everything is dropped: the axis that carries the labels becomes empty."""
    gone = next((a for a, size in enumerate(small.shape) if size > 1), min(1, small.dim() - 1))
    return [torch.arange(0 if axis == gone else size) for axis, size in enumerate(labels.shape)]


def matches(arrived: Any, expected: Any) -> bool:
    """Tell whether the labels that arrive are exactly the expected ones."""
    if isinstance(expected, (tuple, list)):
        return (
            isinstance(arrived, (tuple, list))
            and len(arrived) == len(expected)
            and all(matches(f, e) for f, e in zip(arrived, expected, strict=True))
        )
    if not isinstance(expected, Tensor) or not isinstance(arrived, Tensor) or arrived.shape != expected.shape:
        return False
    return bool((core(arrived).numpy() == core(expected).numpy()).all())
