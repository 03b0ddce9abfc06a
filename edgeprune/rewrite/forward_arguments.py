"""Arguments of a module's forward: bound to its signature, and those of them for which a trace holds."""

import inspect
import keyword
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from edgeprune.errors import TraceError

_FIXED = (bool, str, type(None))  # arguments that steer Python: a trace holds for the value that they had


@dataclass(frozen=True)
class Argument:
    """One argument of a forward that is traced; ``keyword`` says that it can only be given by name."""

    name: str
    value: Any
    keyword: bool = False
    default: Any = inspect.Parameter.empty

    @property
    def fixed(self) -> bool:
        """Tell whether the trace holds for this value alone."""
        return isinstance(self.value, _FIXED)


def input_names(model: nn.Module, count: int) -> list[str]:
    """Return the names of the first ``count`` arguments of forward; the others keep their defaults."""
    parameters = list(inspect.signature(model.forward).parameters.values())
    named = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    variadic = any(p.kind == p.VAR_POSITIONAL for p in parameters)
    required = [p.name for p in named if p.default is p.empty]
    if count < len(required) or (count > len(named) and not variadic):
        raise TraceError(
            f"{type(model).__name__}.forward takes {len(required)} input(s) ({', '.join(required)}) but the "
            f"example has {count}; give a tuple with one tensor for each"
        )
    return [p.name for p in named[:count]] + [f"input_{i}" for i in range(count - len(named))]


def bound_arguments(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Argument]:
    """Return the arguments of one call of ``model``'s forward, in the order of its signature.

    Args:
        model: the module that is called.
        args: positional arguments.
        kwargs: keyword arguments.

    Raises:
        TraceError: forward does not take these.
    """
    signature = inspect.signature(model.forward)
    try:
        values = signature.bind(*args, **kwargs).arguments
    except TypeError as error:
        raise TraceError(f"{type(model).__name__}.forward does not take these arguments: {error}") from error
    arguments = []
    for name, value in values.items():
        parameter = signature.parameters[name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            arguments += [Argument(f"input_{number}", item) for number, item in enumerate(value)]
        elif parameter.kind is parameter.VAR_KEYWORD:
            _check_keywords(model, value)
            arguments += [Argument(key, item, keyword=True) for key, item in value.items()]
        else:
            only = parameter.kind is parameter.KEYWORD_ONLY
            arguments.append(Argument(name, value, only, parameter.default))
    return arguments


def _check_keywords(model: nn.Module, values: dict[str, Any]) -> None:
    """Refuse keywords that are no names: they become source code, and may come from a file."""
    for key in values:
        if not key.isidentifier() or keyword.iskeyword(key):
            raise TraceError(
                f"{type(model).__name__}.forward takes the keyword {ascii(key)}, which is no name"
            )


@contextmanager
def taking(model: nn.Module, arguments: list[Argument]) -> Iterator[str]:
    """Give the model's class a method with just these arguments in the block; yield its name.

    torch.fx traces every argument of the method it is given: with None for a default it would go astray.
    """
    names, method = ", ".join(a.name for a in arguments), "edgeprune_forward"
    parameters = [(a.name, repr(a.value) if a.fixed else a.name, a.keyword) for a in arguments]
    passed = ", ".join(f"{name}={value}" if keyword else value for name, value, keyword in parameters)
    scope: dict[str, Any] = {}
    exec(f"def {method}(self, {names}): return self.forward({passed})", scope)
    code = scope[method].__code__
    own = getattr(type(model).forward, "__globals__", {})
    setattr(type(model), method, types.FunctionType(code, own))
    try:
        yield method
    finally:
        delattr(type(model), method)


def check_inputs(inputs: tuple[Any, ...]) -> None:
    """Refuse example inputs that are neither tensors nor containers; raises TraceError."""
    for value in inputs:
        if not isinstance(value, (Tensor, list, tuple, dict)):
            raise TraceError(
                f"an example input is of type {type(value).__name__}, not a tensor: "
                "give a torch tensor, or a tuple with one for each argument of forward"
            )
