"""Build a user's own model: ``package.module:factory``, imported from the path or the working folder."""

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

    Args:
        name: ``package.module:factory``; the factory may be a dotted path.
        num_classes: number of logits, passed if the factory accepts it.
        in_channels: channels of the images, passed if the factory accepts it.
        **args: always passed.

    Raises:
        ModelError: the module or attribute does not exist, or the factory fails or returns no nn.Module.
    """
    module, _, attribute = name.partition(":")
    with _working_folder_importable():
        factory = _attribute(_import(module, name), attribute, name)
        standard_args = {"num_classes": num_classes, "in_channels": in_channels}
        model = _call(factory, {**_accepted(factory, standard_args), **args}, name)
    if not isinstance(model, nn.Module):
        raise ModelError(f"{name} returned a {type(model).__name__}: it must return a torch.nn.Module")
    return model


def attribute_of(name: str) -> Callable[..., Any]:
    """Import what ``package.module:attribute`` names.

    Raises:
        ModelError: the module or attribute does not exist, or cannot be imported.
    """
    module, _, attribute = name.partition(":")
    with _working_folder_importable():
        return _attribute(_import(module, name), attribute, name)


def called(name: str) -> Any:
    """Import ``package.module:function`` and call it without arguments; return what it returns.

    Raises:
        ModelError: the module or function does not exist, or it fails, or takes arguments.
    """
    module, _, attribute = name.partition(":")
    with _working_folder_importable():
        return _call(_attribute(_import(module, name), attribute, name), {}, name)


@contextmanager
def _working_folder_importable() -> Iterator[None]:
    """Add the working folder to the import path: a console script, unlike ``python -m``, does not search it."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _import(module: str, name: str) -> Any:
    is_dotted = all(part.isidentifier() for part in module.split("."))
    if not is_dotted or Path(module).is_file():
        plain = module.removesuffix(".py").strip("./").replace("/", ".")
        say = f": say {plain}:{name.partition(':')[2]}, from the folder that it is in"
        hint = say if plain != module and all(part.isidentifier() for part in plain.split(".")) else ""
        raise ModelError(f"{name!r} is not of the form package.module:factory{hint}")
    importlib.invalidate_caches()
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and module.startswith(error.name):
            raise ModelError(
                f"no module {error.name!r} for {name}: run from the folder that holds it, or install it"
            ) from error
        raise ModelError(f"{module} needs a module that is not installed: {error.name}") from error
    except Exception as error:  # the user's module may raise anything while it is imported
        raise ModelError(f"{module} cannot be imported: {_one_line(error)}") from error


def _attribute(module: Any, attribute: str, name: str) -> Callable[..., Any]:
    try:
        factory = reduce(getattr, attribute.split("."), module)
    except AttributeError as error:
        raise ModelError(f"{module.__name__} has no {attribute!r}: is {name} spelt right?") from error
    if isinstance(factory, nn.Module) or not callable(factory):
        raise ModelError(
            f"{name} is a {type(factory).__name__}: name a function or class that makes the model"
        )
    return factory


def _accepted(factory: Callable[..., Any], standard_args: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that the factory's signature accepts."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return {}
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return standard_args
    names = {parameter.name for parameter in parameters if parameter.kind is not parameter.POSITIONAL_ONLY}
    return {key: value for key, value in standard_args.items() if key in names}


def _call(factory: Callable[..., Any], args: dict[str, Any], name: str) -> Any:
    missing = _missing(factory, args)
    if missing:
        raise ModelError(
            f"{name} wants {', '.join(missing)}, which nothing gives: name a function that is called without it"
        )
    try:
        return factory(**args)
    except Exception as error:  # the user's own code: its traceback is kept as the cause
        raise ModelError(f"{name} failed: {_one_line(error)}") from error


def _missing(factory: Callable[..., Any], args: dict[str, Any]) -> list[str]:
    """Return the arguments that a factory cannot be called without, and that are not there."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return []
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind not in optional
        and parameter.name not in args
    ]


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
