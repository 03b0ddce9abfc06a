"""Run a user's model and leave no trace of it: flags, attributes, buffers and random state are put back."""

import random
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, compress, filterfalse
from operator import is_, methodcaller
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedTensorMixin  # type: ignore[attr-defined]

from edgeprune.recording.walks import modules

_CONTAINERS = (dict, list, set, deque)
_values = methodcaller("values")
_MAX_ITEMS = 100_000
_SMALL = 1 << 16  # numbers of a buffer that is copied together with others


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Restore everything that running ``model`` may change: attributes, buffers, training flags, random state.

    A tensor is restored in value where an operation wrote into it; a container among the attributes of a
    module is restored in content, since hooks write into dicts and lists that the module holds.
    """
    with ModelState(model).kept():
        yield


class ModelState:
    """What running a network may change, as it is now."""

    def __init__(self, model: nn.Module) -> None:
        self.parts = parts = modules(model)
        self._attributes = _Dicts([vars(part) for part in parts])
        # A scripted module has its flag in C++, not among its attributes.
        self._flags = [(part, part.training) for part in parts if isinstance(part, torch.jit.ScriptModule)]
        containers = _containers(self._attributes.values)
        self._empty = [*filterfalse(None, containers)]  # most of a layer's are
        filled = [item for item in filter(None, containers) if len(item) < _MAX_ITEMS]
        self._dicts = _Dicts([item for item in filled if isinstance(item, dict)])
        self._contents = [(item, item.copy()) for item in filled if not isinstance(item, dict)]
        buffers = _tensors(part._buffers for part in parts)
        self._buffers = _Numbers(  # BatchNorm writes without counting a version
            tensor for tensor in buffers if not isinstance(tensor, UninitializedTensorMixin)
        )
        self._parameters = _tensors(part._parameters for part in parts)
        self._gradients = [parameter.grad for parameter in self._parameters]
        self._devices = sorted({p.device.index for p in self._parameters if p.is_cuda})

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Put all of it back after the block, and random states as they were before; any number of times."""
        states = random.getstate(), np.random.get_state()
        try:
            with torch.random.fork_rng(devices=self._devices):
                yield
        finally:
            if random.getstate() != states[0]:
                random.setstate(states[0])
            if not _are_one_state(np.random.get_state(), states[1]):
                np.random.set_state(states[1])
            self._restore()

    def _restore(self) -> None:
        self._attributes.restore()
        for module, training in self._flags:
            module.training = training
        for container in filter(None, self._empty):
            container.clear()
        self._dicts.restore()
        for container, content in self._contents:
            if not _is_same(container, content):
                _refill(container, content)
        self._buffers.restore()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            if parameter.grad is not gradient:
                parameter.grad = gradient


class _Dicts:
    """The contents of many dicts in one list: a layer of torch's has some twenty attributes."""

    def __init__(self, dicts: list[dict[str, Any]]) -> None:
        self._held = [(item, item.copy()) for item in dicts]
        self._names, self.values = _flat(state for _, state in self._held)

    def restore(self) -> None:
        """Put all back."""
        names, values = _flat(state for state, _ in self._held)
        same = len(names) == len(self._names) and len(values) == len(self.values)
        if same and all(map(is_, names, self._names)) and all(map(is_, values, self.values)):
            return
        for state, before in self._held:
            if not _is_same(state, before):
                _refill(state, before)


def _flat(dicts: Iterable[dict[Any, Any]]) -> tuple[list[Any], list[Any]]:
    """Return all keys, with the number of each dict's, and all values."""
    held = list(dicts)
    return [*chain.from_iterable(held), *map(len, held)], [*chain.from_iterable(map(_values, held))]


def _are_one_state(a: Any, b: Any) -> bool:
    """Tell whether numpy's random numbers are at the same place."""
    if not isinstance(a, tuple) or not isinstance(b, tuple):  # of another generator than numpy's own
        return False
    return bool(a[0] == b[0] and a[2:] == b[2:] and np.array_equal(a[1], b[1]))


class _Numbers:
    """The numbers in tensors: small ones of one type together, for a network has hundreds."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._single: list[tuple[Tensor, Tensor]] = []
        self._groups: dict[tuple[torch.dtype, torch.device, int], list[Tensor]] = {}
        for tensor in tensors:
            plain = type(tensor) is Tensor and tensor.layout is torch.strided and tensor.is_contiguous()
            if plain and tensor.numel() < _SMALL and not tensor.is_quantized:
                self._groups.setdefault((tensor.dtype, tensor.device, tensor.dim()), []).append(tensor)
            else:
                self._single.append((tensor, tensor.detach().clone()))
        self._copies = {key: _joined(group) for key, group in self._groups.items()}
        self._shapes = {key: [tensor.shape for tensor in group] for key, group in self._groups.items()}

    @torch.no_grad()
    def restore(self) -> None:
        """Put back those that differ: a write would make gradients of the run impossible."""
        pairs = self._single
        for key, group in self._groups.items():
            copy, shapes = self._copies[key], self._shapes[key]
            same = [tensor.shape for tensor in group] == shapes
            if not (same and torch.equal(_joined(group), copy)):
                parts = copy.split([shape.numel() for shape in shapes])
                pairs = [*pairs, *zip(group, map(Tensor.view, parts, shapes), strict=True)]
        for tensor, value in pairs:
            if tensor.shape != value.shape:  # the minima and maxima of observers grow in their first run
                tensor.resize_(value.shape)
            if not torch.equal(tensor, value):
                tensor.copy_(value)


@torch.no_grad()
def _joined(tensors: list[Tensor]) -> Tensor:
    """Return the numbers of tensors with as many axes as another, in one row."""
    axes = tensors[0].dim()
    if axes < 2:
        return torch.cat(tensors) if axes else torch.stack(tensors)
    return torch.cat([tensor.view(-1) for tensor in tensors])


def _tensors(holders: Iterable[dict[str, Any]]) -> list[Tensor]:
    """Yield each parameter or buffer once."""
    tensors = {id(t): t for holder in holders for t in holder.values() if isinstance(t, Tensor)}
    return list(tensors.values())


def _containers(values: list[Any]) -> list[Any]:
    """Return the containers among the values of attributes."""
    kinds = {kind for kind in set(map(type, values)) if issubclass(kind, _CONTAINERS)}
    return [*compress(values, map(kinds.__contains__, map(type, values)))]


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
