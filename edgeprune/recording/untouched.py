"""Run a user's model and leave no trace of it: flags, attributes, buffers and random state are put back."""

import random
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from operator import is_
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedTensorMixin  # type: ignore[attr-defined]

_CONTAINERS = (dict, list, set, deque)
_NO_CONTAINERS = frozenset([bool, int, float, str, tuple, type(None)])
_MAX_ITEMS = 100_000


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Restore everything that running ``model`` may change: attributes, buffers, training flags, random state.

    A tensor is restored in value where an operation wrote into it; a container among the attributes of a
    module is restored in content, since hooks write into dicts and lists that the module holds.
    """
    modules = list(model.modules())
    attributes = [(module, dict(vars(module))) for module in modules]
    # A scripted module has its flag in C++, not among its attributes.
    flags = [(module, module.training) for module in modules if isinstance(module, torch.jit.ScriptModule)]
    containers = _contents(attributes)
    tensors = [
        (t, t.detach().clone()) for t in _buffers(modules)
    ]  # BatchNorm writes without counting a version
    gradients = [(p, p.grad) for p in model.parameters()]
    states = random.getstate(), np.random.get_state()
    devices = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        for module, state in attributes:
            if not _is_same(vars(module), state):
                vars(module).clear()
                vars(module).update(state)
        for module, training in flags:
            module.training = training
        for container, content in containers:
            _refill(container, content)
        with torch.no_grad():
            for tensor, value in tensors:
                if tensor.shape != value.shape:  # the minima and maxima of observers grow in their first run
                    tensor.resize_(value.shape)
                if not torch.equal(tensor, value):  # a write would make gradients of the run impossible
                    tensor.copy_(value)
        for parameter, gradient in gradients:
            parameter.grad = gradient


def _buffers(modules: list[nn.Module]) -> list[Tensor]:
    seen: dict[int, Tensor] = {}
    for module in modules:
        for tensor in module._buffers.values():
            if isinstance(tensor, Tensor) and not isinstance(tensor, UninitializedTensorMixin):
                seen[id(tensor)] = tensor
    return list(seen.values())


def _contents(attributes: list[tuple[nn.Module, dict[str, Any]]]) -> list[tuple[Any, Any]]:
    """Each container that a module holds directly, with a copy of what is in it; None for nothing."""
    contents: dict[int, tuple[Any, Any]] = {}
    for _, state in attributes:
        for value in state.values():
            # The type first: a layer of torch's has some twenty attributes, and most of its containers are empty.
            if type(value) in _NO_CONTAINERS or not isinstance(value, _CONTAINERS) or id(value) in contents:
                continue
            if len(value) < _MAX_ITEMS:
                contents[id(value)] = (value, value.copy() if value else None)
    return list(contents.values())


def _refill(container: Any, content: Any) -> None:
    """Put ``content`` back into ``container``, which keeps its identity."""
    if content is None:
        if container:
            container.clear()
        return
    if _is_same(container, content):
        return
    container.clear()
    if isinstance(container, (dict, set)):
        container.update(content)
    else:
        container.extend(content)


def _is_same(container: Any, content: Any) -> bool:
    """Whether both hold the very same objects, in the same order."""
    if len(container) != len(content) or not all(map(is_, container, content)):
        return False
    return not isinstance(container, dict) or all(map(is_, container.values(), content.values()))
