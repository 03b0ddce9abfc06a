"""What a network computes with: tensors in any container, their shapes without their memory, where they lie."""

from collections import OrderedDict
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

_WITHOUT_TENSORS = frozenset([str, bytes, int, float, bool, type(None), torch.dtype, torch.device])
_CONTAINERS = frozenset([dict, OrderedDict, list, tuple, set])
_DEEPEST = 8  # containers in containers that are looked into


def tensors_of(value: Any) -> list[Tensor]:
    """Return all tensors of nested containers, dataclasses and plain objects, in order."""
    tensors: list[Tensor] = []
    _collect(value, tensors, 0)
    return tensors


def _collect(value: Any, tensors: list[Tensor], depth: int) -> None:
    if isinstance(value, Tensor):
        tensors.append(value)
        return
    if type(value) in _WITHOUT_TENSORS or depth > _DEEPEST:
        return
    items: Any
    if isinstance(value, dict):
        items = value.values()
    elif isinstance(value, (tuple, list, set, frozenset)):
        items = value
    elif isinstance(value, slice):
        items = value.start, value.stop, value.step
    elif isinstance(value, (str, bytes, int, float, nn.Module, type)):
        return
    else:
        state = getattr(value, "__dict__", None)
        if not isinstance(state, dict) or callable(value):
            return
        items = state.values()
    for item in items:
        _collect(item, tensors, depth + 1)


def held_ids(parts: list[nn.Module]) -> set[int]:
    """Return the ids of all tensors that modules hold, in attributes of any kind."""
    held: set[int] = set()
    for module in parts:
        for name, value in vars(module).items():
            kind = type(value)
            if kind in _WITHOUT_TENSORS or name == "_modules" or (kind in _CONTAINERS and not value):
                continue
            held.update(map(id, tensors_of(value)))
    return held


def hollow(value: Any) -> Any:
    """Replace every tensor by zeros of stride 0: its shape and type without its memory."""
    return mapped(value, _hollow_tensor)


def _hollow_tensor(t: Tensor) -> Tensor:
    if is_foreign(t):
        return torch.zeros(()).expand(() if t.is_nested else t.shape)
    return _zeros(torch.int8 if t.is_quantized else t.dtype, t.shape)


@lru_cache(maxsize=1 << 12)
def _zeros(dtype: torch.dtype, shape: torch.Size) -> Tensor:
    """Return zeros of stride 0, for all who need that shape; not to be written into."""
    with torch.inference_mode(False):
        return torch.zeros((), dtype=dtype).expand(shape)


def mapped(value: Any, function: Any) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, (tuple, list)):
        return tuple(mapped(v, function) for v in value)
    if isinstance(value, dict):
        return {k: mapped(v, function) for k, v in value.items()}
    return value


def is_foreign(tensor: Tensor) -> bool:
    """Tell whether a tensor has a class with its own dispatch, or is not plain strided memory."""
    kind = type(tensor)
    if kind is not Tensor and kind.__torch_dispatch__ is not Tensor.__torch_dispatch__:
        return True
    return tensor.layout is not torch.strided or tensor.is_nested


def describe_foreign(tensor: Tensor) -> str:
    """Return what a person would call such a tensor."""
    if type(tensor) not in (Tensor, nn.Parameter):
        return f"tensors of {type(tensor).__name__}"
    return "nested tensors" if tensor.is_nested else f"tensors of layout {str(tensor.layout)[6:]}"


def version_of(tensor: Tensor) -> int:
    """Return how often a tensor was written into; inference tensors do not count it."""
    try:
        return tensor._version
    except RuntimeError:
        return 0


def storage_of(tensor: Tensor) -> int | None:
    try:
        return tensor.untyped_storage()._cdata
    except (RuntimeError, NotImplementedError):
        return None
