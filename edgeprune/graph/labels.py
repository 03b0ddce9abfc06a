"""Label tensors: an integer for every channel of every tensor.

A label tensor has the shape of the tensor it stands for, but axes along which labels do not change
have stride 0, so it costs as much memory as it has channels. Label 0 means "constant": it is never
removed and ties nothing.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def core(labels: Tensor) -> Tensor:
    """The same labels with every stride-0 axis narrowed to length 1."""
    for axis, (size, stride) in enumerate(zip(labels.shape, labels.stride(), strict=True)):
        if size > 1 and stride == 0:
            labels = labels.narrow(axis, 0, 1)
    return labels


def spread(vector: Tensor, axis: int, shape: tuple[int, ...]) -> Tensor:
    """A label vector laid along ``axis`` and constant along the others, as a tensor of ``shape``."""
    view = [1] * len(shape)
    view[axis] = len(vector)
    return vector.view(view).expand(shape)


def compress(labels: Any) -> Any:
    """Give stride 0 to every axis along which the labels are in fact constant."""
    if isinstance(labels, (tuple, list)):
        return type(labels)(compress(item) for item in labels)
    if not isinstance(labels, Tensor):
        return labels
    small = core(labels)
    for axis, size in enumerate(small.shape):
        if size > 1 and bool((small == small.narrow(axis, 0, 1)).all()):
            small = small.narrow(axis, 0, 1)
    return small.expand(labels.shape)


def vector_along(labels: Tensor, axis: int) -> Tensor | None:
    """The labels along ``axis`` when they do not depend on the other axes (label 0 aside), else None."""
    flat = core(labels).movedim(axis, 0)
    flat = flat.reshape(flat.shape[0], -1)
    if flat.shape[1] == 1:
        vector = flat[:, 0]
    elif flat.numel() == 0:
        return None
    else:
        vector = flat.max(1).values
        if not bool(((flat == vector[:, None]) | (flat == 0)).all()):
            return None
    return vector.expand(labels.shape[axis]) if len(vector) == 1 else vector


def varies(labels: Tensor, axis: int) -> bool:
    """Whether the labels change along ``axis``."""
    small = core(labels)
    return small.shape[axis] > 1 and not bool((small == small.narrow(axis, 0, 1)).all())


def shared_axes(tensors: list[Tensor], skip: int) -> list[int]:
    """Axes other than ``skip`` along which every one of ``tensors`` is constant by stride."""
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
    """Run a mover on label tensors; through float64 (exact to 2^53) where it has no integer kernel."""
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
    """Per axis the indices that survive; None when the survivors do not form a grid.

    An axis that loses nothing is given as all its indices.
    """
    small = core(labels)
    alive = kept(small)
    if bool(alive.all()):
        return [torch.arange(size) for size in labels.shape]
    axes: list[Tensor] = []
    for axis, size in enumerate(small.shape):
        if size == 1:
            axes.append(torch.arange(labels.shape[axis]))
            continue
        others = [other for other in range(small.dim()) if other != axis]
        axes.append((alive.amax(others) if others else alive).nonzero()[:, 0])
    rest = alive
    for axis, index in enumerate(axes):
        if small.shape[axis] > 1:
            rest = rest.index_select(axis, index)
    if not bool(rest.all()) and bool(alive.any()):
        return None
    if not bool(alive.any()):
        return _nothing_left(small, labels, axes)
    return axes


def _nothing_left(small: Tensor, labels: Tensor, axes: list[Tensor]) -> list[Tensor]:
    """Everything is dropped: the axis that carries the labels becomes empty."""
    wide = [axis for axis, size in enumerate(small.shape) if size > 1] or [min(1, small.dim() - 1)]
    return [torch.arange(0) if axis == wide[0] else torch.arange(labels.shape[axis]) for axis in range(len(axes))]
