"""A user's own model: ``package.module:factory``, imported from the path or the working folder."""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any

from torch import nn

from edgeprune.errors import ModelError


def from_factory(name: str, /, *, num_classes: int, in_channels: int = 3, **args: Any) -> nn.Module:
    """Import ``package.module:factory`` and call it.

    ``num_classes`` and ``in_channels`` are passed if the factory accepts them, ``args`` always.

    Raises:
        ModelError: when the module or attribute is not there, or the factory fails or gives no nn.Module.
    """
    module, _, attribute = name.partition(":")
    with _working_folder_importable():
        factory = _attribute(_import(module, name), attribute, name)
        offered = {"num_classes": num_classes, "in_channels": in_channels}
        model = _call(factory, {**_accepted(factory, offered), **args}, name)
    if not isinstance(model, nn.Module):
        raise ModelError(f"{name} returned a {type(model).__name__}: it must return a torch.nn.Module")
    return model


@contextmanager
def _working_folder_importable() -> Iterator[None]:
    """A console script, unlike ``python -m``, does not look for modules in the working folder."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _import(module: str, name: str) -> Any:
    if not all(part.isidentifier() for part in module.split(".")):
        raise ModelError(f"{name!r} is not of the form package.module:factory")
    importlib.invalidate_caches()
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and module.startswith(error.name):
            raise ModelError(
                f"no module {error.name!r} for {name}: run from the folder that holds it, or install it"
            ) from error
        raise ModelError(f"{module} needs a module that is not installed: {error.name}") from error
    except Exception as error:  # whatever the user's module does while it is imported
        raise ModelError(f"{module} cannot be imported: {_one_line(error)}") from error


def _attribute(module: Any, attribute: str, name: str) -> Callable[..., Any]:
    try:
        found = reduce(getattr, attribute.split("."), module)
    except AttributeError as error:
        raise ModelError(f"{module.__name__} has no {attribute!r}: is {name} spelt right?") from error
    if isinstance(found, nn.Module) or not callable(found):
        raise ModelError(f"{name} is a {type(found).__name__}: name a function or class that makes the model")
    return found


def _accepted(factory: Callable[..., Any], offered: dict[str, Any]) -> dict[str, Any]:
    """Those of the offered arguments that the factory's signature has a place for."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return {}
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return offered
    names = {parameter.name for parameter in parameters if parameter.kind is not parameter.POSITIONAL_ONLY}
    return {key: value for key, value in offered.items() if key in names}


def _call(factory: Callable[..., Any], args: dict[str, Any], name: str) -> Any:
    try:
        return factory(**args)
    except Exception as error:  # the user's own code: its traceback is kept as the cause
        raise ModelError(f"{name} failed: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
