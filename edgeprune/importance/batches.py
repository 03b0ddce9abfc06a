"""Data for criteria: batches in, checked tensors out."""

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass, replace
from itertools import islice
from typing import Any

from torch import Tensor

from edgeprune.errors import PlanError

# (x, y) pairs, or x alone where no labels are needed; a function returns a new iterable on each call.
# x is one argument of forward (a tensor, or a dict of them), or a tuple or list with one item for each.
# A batch that is a dict has forward's arguments by name, and whatever else the loss reads.
Batches = Iterable[Any] | Callable[[], Iterable[Any]]
Inputs = tuple[Any, ...]  # the arguments of forward

_HOW = "an iterable of (x, y) batches, or a function that returns one"


def inputs_of(batches: Batches | None, criterion: str, limit: int | None = None) -> Iterator[Inputs]:
    """Yield the model inputs of each batch; labels are not needed.

    Args:
        batches: an iterable of (x, y) or x, or a function that returns one.
        criterion: its name, for errors.
        limit: largest number of batches; None for all.

    Raises:
        PlanError: there are no batches, or one is neither x nor (x, y).
    """
    for batch in each_batch(batches, criterion, limit):
        yield _inputs(batch[0] if isinstance(batch, (tuple, list)) and len(batch) == 2 else batch, criterion)


def pair_of(batch: Any, criterion: str) -> tuple[Inputs, Any]:
    """Return the model inputs of a batch, and what the loss compares the output with.

    Args:
        batch: (x, y), y a tensor or anything that holds some; or a dict of forward's arguments by name, which is
            given to the loss as it is.
        criterion: its name, for errors.

    Raises:
        PlanError: it is neither.
    """
    if isinstance(batch, dict):
        return _inputs(batch, criterion), batch
    if not (isinstance(batch, (tuple, list)) and len(batch) == 2 and tensors_among(batch[1])):
        raise PlanError(
            f"criterion {criterion} needs labels: batches is {_HOW}, y a tensor or a dict or list of them, or "
            f"give loss=, a function of (model, batch); got {_kind(batch)}"
        )
    return _inputs(batch[0], criterion), batch[1]


def each_batch(batches: Batches | None, criterion: str, limit: int | None) -> Iterator[Any]:
    """Yield the batches as they are.

    Args:
        batches: an iterable, or a function that returns one.
        criterion: its name, for errors.
        limit: largest number of batches; None for all.

    Raises:
        PlanError: there are no batches.
    """
    if batches is None:
        raise PlanError(f"criterion {criterion} needs data: pass batches=, {_HOW}")
    iterable = batches() if callable(batches) else batches
    if isinstance(iterable, Tensor) or not isinstance(iterable, Iterable):
        raise PlanError(f"batches is {_kind(iterable)}; it must be {_HOW}")
    empty = True
    for batch in islice(iterable, limit):
        empty = False
        yield batch
    if empty:
        raise PlanError(f"criterion {criterion} needs data, but batches is empty (an exhausted iterator?)")


def _inputs(x: Any, criterion: str) -> Inputs:
    arguments = tuple(x) if type(x) in (tuple, list) else (x,)
    tensors = tensors_among(arguments)
    if not tensors:
        raise PlanError(f"criterion {criterion} got {_kind(x)} for x: batches is {_HOW}, x a tensor")
    if any(tensor.dim() and not len(tensor) for tensor in tensors):
        raise PlanError(f"criterion {criterion} got a batch of no images")
    return arguments


def map_tensors(value: Any, function: Callable[[Tensor], Any]) -> Any:
    """Apply ``function`` to every tensor in nested lists, tuples, dicts and dataclasses, which keep their types."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(item, function) for item in value))
    if isinstance(value, (tuple, list)):
        return type(value)([map_tensors(item, function) for item in value])
    if isinstance(value, dict):
        new = copy.copy(value)
        new.update({key: map_tensors(item, function) for key, item in value.items()})
        return new
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{f.name: map_tensors(getattr(value, f.name), function) for f in fields(value)}
        )
    return value


def tensors_among(value: Any) -> list[Tensor]:
    """Return the tensors in nested containers, in the order of `map_tensors`."""
    tensors: list[Tensor] = []
    map_tensors(value, tensors.append)
    return tensors


def images_in(inputs: Inputs) -> int:
    """Return the number of images in a batch: the length of its first tensor that has one."""
    return next((len(tensor) for tensor in tensors_among(inputs) if tensor.dim()), 1)


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}" + (f" of {len(value)}" if isinstance(value, (tuple, list)) else "")
