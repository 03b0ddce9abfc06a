"""A deep copy of a user's network that is independent of the original."""

import copy
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn

from edgeprune.errors import ModelError

Module = TypeVar("Module", bound=nn.Module)


def duplicate(model: Module) -> Module:
    """Return a deep copy of ``model``; hooks that close over it come to close over the copy.

    ``copy.deepcopy`` takes functions as they are, so a hook written as a lambda would go on writing into the
    original network.

    Raises:
        ModelError: the model holds something that cannot be copied.
    """
    own = {id(module) for module in model.modules()}
    try:
        # With gradients on, torch's copy of a scripted module would be computed from the original's parameters.
        with _closures_copied(own), torch.no_grad():
            new = copy.deepcopy(model)
    except Exception as error:  # whatever an attribute's own copying raises
        text = (str(error).splitlines() or [""])[0]
        raise ModelError(
            f"{type(model).__name__} cannot be copied ({type(error).__name__}: {text}): "
            "remove the attribute that cannot be copied, and set it again on the pruned network"
        ) from error
    for old, part in zip(model.modules(), new.modules(), strict=True):
        if isinstance(old, torch.jit.ScriptModule):
            for before, parameter in zip(old.parameters(), part.parameters(), strict=True):
                parameter.requires_grad_(before.requires_grad)
    return new


@contextmanager
def _closures_copied(own: set[int]) -> Iterator[None]:
    dispatch: dict[type, Any] = copy._deepcopy_dispatch  # type: ignore[attr-defined]
    kinds = (types.FunctionType, torch.jit.ScriptFunction, torch.Tensor)
    before = {kind: dispatch.get(kind) for kind in kinds}
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


def _copy_function(function: types.FunctionType, memo: dict[int, Any], own: set[int]) -> types.FunctionType:
    """The function itself, or one with copied cells where it closes over a part of the network."""
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
    """A copy, also of what an attribute keeps of a computation with gradients; that has none in the copy."""
    new: torch.Tensor = tensor.__deepcopy__(memo) if tensor.is_leaf else tensor.detach().clone()
    memo[id(tensor)] = new
    return new


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # an empty cell
        return None


def _holds(value: Any, own: set[int], memo: dict[int, Any]) -> bool:
    """Whether ``value`` is, or directly contains, a part of the network or something of it that was copied."""
    if id(value) in own or (id(value) in memo and isinstance(value, (dict, list, set))):
        return True
    if isinstance(value, (list, tuple)):
        return any(id(item) in own for item in value)
    if isinstance(value, dict):
        return any(id(item) in own for item in value.values())
    return isinstance(value, types.MethodType) and id(value.__self__) in own
