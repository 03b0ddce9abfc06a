"""Content-dependent choices of a run: which boxes were kept, the order of scores, which branch was taken.

Later runs of the network replay them: they take the recorded path, at its sizes, and can be compared number by
number, since neither rounding nor a dropped channel can change a choice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from edgeprune.recording.operands import tensors_in

CONTENT = "content"  # node.meta: what the content of tensors decided in a call: places, flags, plain values

Key = tuple[str, int]


def decided(op: str, tensors: list[Tensor], result: Any) -> Any:
    """Return a copy of what a call picked by its inputs' values, or read from them; None for nothing.

    Of several results the place of each is kept, with None for those that are computed and not picked.

    Args:
        op: the call's canonical name.
        tensors: the tensors the call takes, in order.
        result: what it returned.
    """
    if not any(tensor.is_floating_point() for tensor in tensors):
        return _plain(result)  # places of places follow by themselves
    if op.startswith("unique"):
        return _copied(result)
    if isinstance(result, Tensor):
        return _copied(result) if is_discrete(result) else None
    if isinstance(result, (tuple, list)) and any(isinstance(item, Tensor) for item in result):
        parts = [_copied(t) if isinstance(t, Tensor) and is_discrete(t) else None for t in result]
        return parts if any(part is not None for part in parts) else None
    return _plain(result)


def is_discrete(tensor: Tensor) -> bool:
    """Tell whether a tensor holds places or flags, and no measured numbers."""
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.is_quantized)


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    return [_copied(item) for item in value] if isinstance(value, (tuple, list)) else value


def _plain(value: Any) -> Any:
    """Copy numbers that were read out of a tensor; return None for anything else."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, list):
        return None if any(_plain(item) is None for item in value) else list(value)
    return value if isinstance(value, (bool, int, float, complex, np.generic)) else None


@dataclass(frozen=True)
class Decided:
    """What one call decided, and which of the tensors that it is given (by place) must be what they were."""

    op: str
    content: Any
    places: tuple[int, ...]


@dataclass
class Replay:
    """Puts what was decided in one run into another.

    ``entering`` are the tensors that the other run would have decided by: two runs that are to do the same must agree
    in them.
    """

    contents: Mapping[Key, Decided] = field(default_factory=dict)
    entering: list[Tensor] = field(default_factory=list)

    def __call__(self, key: Key, op: str, args: Any, kwargs: Any, result: Any) -> Any:
        """Return what stands for the ``result`` of the call ``key``, which was given ``args`` and ``kwargs``."""
        choice = self.contents.get(key)
        if choice is None or choice.op != op:
            return result
        tensors = tensors_in(args, kwargs)
        self.entering += [tensors[place].detach().clone() for place in choice.places if place < len(tensors)]
        return _replaced(result, choice.content)


def _replaced(result: Any, content: Any) -> Any:
    if content is None:
        return result
    if isinstance(content, Tensor):
        return content.to(result.device, copy=True) if isinstance(result, Tensor) else result
    if isinstance(content, np.ndarray):
        return content.copy()
    if isinstance(content, list) and isinstance(result, (tuple, list)):
        if len(content) != len(result):
            return list(content) if isinstance(result, list) else result
        parts = [_replaced(item, part) for item, part in zip(result, content, strict=True)]
        return type(result)(parts)
    return content
