"""Run a user's model and leave no trace of it: flags, attributes, buffers and random state are put back."""

import random
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from operator import is_
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedTensorMixin  # type: ignore[attr-defined]

from edgeprune.recording.walks import modules

_CONTAINERS = (dict, list, set, deque)
_NO_CONTAINERS = frozenset([bool, int, float, str, tuple, type(None), Tensor, nn.Parameter])
_MAX_ITEMS = 100_000


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Restore everything that running ``model`` may change: attributes, buffers, training flags, random state.

    A tensor is restored in value where an operation wrote into it; a container among the attributes of a
    module is restored in content, since hooks write into dicts and lists that the module holds.
    """
    parts = modules(model)
    attributes = [(part, vars(part).copy()) for part in parts]
    # A scripted module has its flag in C++, not among its attributes.
    flags = [(part, part.training) for part in parts if isinstance(part, torch.jit.ScriptModule)]
    containers = _containers([state for _, state in attributes])
    empty = [container for container in containers if not container]  # most of a layer's are
    contents = [(item, item.copy()) for item in containers if 0 < len(item) < _MAX_ITEMS]
    buffers = _tensors(part._buffers for part in parts)
    tensors = [  # BatchNorm writes without counting a version
        (t, t.detach().clone()) for t in buffers if not isinstance(t, UninitializedTensorMixin)
    ]
    parameters = _tensors(part._parameters for part in parts)
    gradients = [p.grad for p in parameters]
    states = random.getstate(), np.random.get_state()
    devices = sorted({p.device.index for p in parameters if p.is_cuda})
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        for module, state in attributes:
            if not _is_same(vars(module), state):
                _refill(vars(module), state)
        for module, training in flags:
            module.training = training
        for container in filter(None, empty):
            container.clear()
        for container, content in contents:
            if not _is_same(container, content):
                _refill(container, content)
        with torch.no_grad():
            for tensor, value in tensors:
                if tensor.shape != value.shape:  # the minima and maxima of observers grow in their first run
                    tensor.resize_(value.shape)
                if not torch.equal(tensor, value):  # a write would make gradients of the run impossible
                    tensor.copy_(value)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if parameter.grad is not gradient:
                parameter.grad = gradient


def _tensors(holders: Iterable[dict[str, Any]]) -> list[Tensor]:
    """Yield each parameter or buffer once."""
    tensors = {id(t): t for holder in holders for t in holder.values() if isinstance(t, Tensor)}
    return list(tensors.values())


def _containers(states: list[dict[str, Any]]) -> list[Any]:
    """Yield each container that a module holds directly."""
    # The type first: a layer of torch's has some twenty attributes.
    held = {
        id(value): value
        for state in states
        for value in state.values()
        if type(value) not in _NO_CONTAINERS and isinstance(value, _CONTAINERS)
    }
    return list(held.values())


def _refill(container: Any, content: Any) -> None:
    """Put ``content`` back into ``container``, which keeps its identity."""
    container.clear()
    if isinstance(container, (dict, set)):
        container.update(content)
    else:
        container.extend(content)


def _is_same(container: Any, content: Any) -> bool:
    """Tell whether both hold the very same objects, in the same order."""
    if len(container) != len(content) or not all(map(is_, container, content)):
        return False
    return not isinstance(container, dict) or all(map(is_, container.values(), content.values()))
