"""What a forward keeps on its modules: results that are computed once and looked up ever after, or anything else.

A look-up table of what follows from parameters and sizes alone may be left out of a rewritten forward, which computes
it each time. Anything else that code keeps would be lost there.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from edgeprune.recording.record import VALUE
from edgeprune.rewrite.symbolic import Leaves

_TORCHS_OWN = frozenset(vars(nn.Module())) - {"_buffers"}
_ABSENT = object()


class State:
    """The attributes of a module and of those inside, as they are now."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._before = {key: (value, _items(value)) for key, value in _attributes(module)}

    def tables(self) -> list[tuple[str, str]]:
        """Return (path, name) of each dict that holds tensors."""
        return [
            key
            for key, (value, items) in self._before.items()
            if type(value) is dict and key[1] != "_buffers" and any(isinstance(t, Tensor) for t in items)
        ]

    def changes(self) -> dict[tuple[str, str], list[Any]]:
        """Return what has come into each attribute that is not what it was; something else for what has gone."""
        now = dict(_attributes(self.module))
        changes: dict[tuple[str, str], list[Any]] = {}
        for key in {**self._before, **now}:
            value, (old, items) = now.get(key, _ABSENT), self._before.get(key, (_ABSENT, []))
            if value is not old:
                changes[key] = _items(value) if isinstance(value, (dict, list, set, tuple)) else [value]
            elif [id(item) for item in _items(value)] != [id(item) for item in items]:
                known = {id(item) for item in items}
                changes[key] = [item for item in _items(value) if id(item) not in known] or [_ABSENT]
        return changes


def are_memos(changes: dict[tuple[str, str], list[Any]], leaves: Leaves) -> bool:
    """Tell whether all that a trace put into attributes follows from parameters, constants and sizes alone."""
    return all(_is_memo(item, leaves) for items in changes.values() for item in items)


def _is_memo(item: Any, leaves: Leaves) -> bool:
    if isinstance(item, Proxy):
        return item.node in leaves.lasting and isinstance(item.node.meta.get(VALUE), Tensor)
    return isinstance(item, (str, int, torch.device, torch.dtype))  # a key


def empty(module: nn.Module, tables: list[tuple[str, str]]) -> None:
    """Empty dicts among the attributes of a module and of those inside."""
    for path, name in tables:
        vars(module.get_submodule(path))[name].clear()


def _attributes(module: nn.Module) -> Iterator[tuple[tuple[str, str], Any]]:
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            if name not in _TORCHS_OWN and not name.startswith("_tensor_constant"):
                yield (path, name), value


def _items(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return list(value) if isinstance(value, (list, set, tuple)) else []


def held_tensors(module: nn.Module) -> Iterator[Tensor]:
    """Yield the tensors in the lists and dicts that a module and those inside hold."""
    for (_, name), value in _attributes(module):
        if name != "_buffers":
            yield from (item for item in _items(value) if isinstance(item, Tensor))
