"""A deep copy of a user's network that is independent of the original."""

import copy
import types
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn

from edgeprune.errors import ModelError
from edgeprune.recording.walks import modules

Module = TypeVar("Module", bound=nn.Module)
_ATOMS = frozenset([bool, int, float, str, type(None)])
_DICTS = frozenset([dict, OrderedDict, set])
_OWN = frozenset(vars(nn.Module()))  # attributes of each module's own


def duplicate(model: Module, tensors: Mapping[int, torch.Tensor] | None = None) -> Module:
    """Return a deep copy of ``model``; hooks that close over it come to close over the copy.

    ``copy.deepcopy`` takes functions as they are, so a hook written as a lambda would go on writing into the
    original network.

    Args:
        model: the network.
        tensors: by the id of a parameter or buffer, what the copy has in its place.

    Raises:
        ModelError: the model holds something that cannot be copied.
    """
    parts = modules(model)
    own, kinds = {id(part) for part in parts}, {type(part) for part in parts}
    try:
        # With gradients on, torch's copy of a scripted module would be computed from the original's parameters.
        with _copying(own, kinds), torch.no_grad():
            new = copy.deepcopy(model, dict(tensors or {}))
    except Exception as error:  # whatever an attribute's own copying raises
        text = (str(error).splitlines() or [""])[0]
        raise ModelError(
            f"{type(model).__name__} cannot be copied ({type(error).__name__}: {text}): "
            "remove the attribute that cannot be copied, and set it again on the pruned network"
        ) from error
    if any(isinstance(part, torch.jit.ScriptModule) for part in parts):
        _copy_flags(parts, modules(new))
    return new


def _copy_flags(parts: list[nn.Module], copies: list[nn.Module]) -> None:
    """Let the parameters of scripted modules have gradients where those of the original have."""
    for old, part in zip(parts, copies, strict=True):
        if isinstance(old, torch.jit.ScriptModule):
            for before, parameter in zip(old.parameters(), part.parameters(), strict=True):
                parameter.requires_grad_(before.requires_grad)


@contextmanager
def _copying(own: set[int], kinds: set[type]) -> Iterator[None]:
    """Copy closures that hold a part of the network, and plain modules the short way."""
    dispatch: dict[type, Any] = copy._deepcopy_dispatch  # type: ignore[attr-defined]
    plain = {kind for kind in kinds if _is_plain(kind)}
    before = {
        kind: dispatch.get(kind)
        for kind in (types.FunctionType, torch.jit.ScriptFunction, torch.Tensor, *plain)
    }
    dispatch.update(dict.fromkeys(plain, _copy_module))
    dispatch[types.FunctionType] = lambda function, memo: _copy_function(function, memo, own)
    dispatch[torch.jit.ScriptFunction] = lambda function, _: function
    dispatch[torch.Tensor] = _copy_tensor
    try:
        yield
    finally:
        for kind, handler in before.items():
            if handler is None:
                dispatch.pop(kind, None)
            else:
                dispatch[kind] = handler


def _is_plain(kind: type) -> bool:
    """Tell whether a class of modules says nothing of its own about copying."""
    own = ("__deepcopy__", "__copy__", "__reduce__", "__reduce_ex__", "__getnewargs__", "__getnewargs_ex__")
    return (
        issubclass(kind, nn.Module)
        and not issubclass(kind, torch.jit.ScriptModule)
        and not any(name in vars(base) for base in kind.__mro__[:-1] for name in own)
        and getattr(kind, "__getstate__", None) is getattr(nn.Module, "__getstate__", None)
        and kind.__setstate__ in (nn.Module.__setstate__, nn.modules.conv._ConvNd.__setstate__)
    )


def _copy_module(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """Copy a plain module as ``copy.deepcopy`` does, without calls for each of its numbers and dicts."""
    new = type(module).__new__(type(module))
    memo[id(module)] = new
    state = vars(new)
    for name, value in vars(module).items():
        kind = type(value)
        if kind in _ATOMS:
            state[name] = value
        elif name in _OWN and kind in _DICTS and not value:  # of hooks, most of all
            state[name] = kind()
        elif name != "_compiled_call_impl":  # torch's own copy leaves it out
            state[name] = _copied(value, memo)
    return new


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    """Return the copy of an attribute's value, or of an item of such a dict."""
    if id(value) in memo:
        return memo[id(value)]
    kind = type(value)
    if kind is tuple and all(type(item) in _ATOMS for item in value):
        return value
    if kind is dict or (kind is OrderedDict and not vars(value)):
        new: Any = kind()
        memo[id(value)] = new
        for key, item in value.items():
            name = key if type(key) in _ATOMS else copy.deepcopy(key, memo)
            new[name] = item if type(item) in _ATOMS else _copied(item, memo)
        return new
    if kind is set and not value:
        return memo.setdefault(id(value), set())
    if copy._deepcopy_dispatch.get(kind) is _copy_module:  # type: ignore[attr-defined]
        return _copy_module(value, memo)
    return copy.deepcopy(value, memo)


def _copy_function(function: types.FunctionType, memo: dict[int, Any], own: set[int]) -> types.FunctionType:
    """Return the function itself, or one with copied cells if it closes over a part of the network."""
    values = [*(_content(cell) for cell in function.__closure__ or ()), *(function.__defaults__ or ())]
    if not any(_holds(value, own, memo) for value in values):
        return function
    cells = tuple(types.CellType(copy.deepcopy(_content(cell), memo)) for cell in function.__closure__ or ())
    defaults = copy.deepcopy(function.__defaults__, memo)
    new = types.FunctionType(function.__code__, function.__globals__, function.__name__, defaults, cells)
    new.__kwdefaults__ = function.__kwdefaults__
    new.__dict__.update(function.__dict__)
    return new


def _copy_tensor(tensor: torch.Tensor, memo: dict[int, Any]) -> torch.Tensor:
    """Copy a tensor, also an attribute with a gradient history, which the copy does not have."""
    new: torch.Tensor = tensor.__deepcopy__(memo) if tensor.is_leaf else tensor.detach().clone()
    memo[id(tensor)] = new
    return new


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # an empty cell
        return None


def _holds(value: Any, own: set[int], memo: dict[int, Any]) -> bool:
    """Tell whether ``value`` is, or directly contains, a part of the network or something of it that was copied."""
    if id(value) in own or (id(value) in memo and isinstance(value, (dict, list, set))):
        return True
    if isinstance(value, (list, tuple)):
        return any(id(item) in own for item in value)
    if isinstance(value, dict):
        return any(id(item) in own for item in value.values())
    return isinstance(value, types.MethodType) and id(value.__self__) in own
