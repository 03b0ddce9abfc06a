"""Data for criteria: batches in, checked tensors out."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from torch import Tensor

from edgeprune.errors import PlanError

# (x, y) pairs, or x alone where no labels are needed; a function gives a fresh iterable on each call.
Batches = Iterable[Any] | Callable[[], Iterable[Any]]
Inputs = tuple[Tensor, ...]

_HOW = "an iterable of (x, y) batches, or a function that gives one"


def inputs_of(batches: Batches | None, criterion: str, limit: int | None = None) -> Iterator[Inputs]:
    """The model inputs of each batch, at most ``limit`` batches; labels are not needed.

    Raises:
        PlanError: there are no batches, or one is neither x nor (x, y).
    """
    for batch in _each(batches, criterion, limit):
        yield _inputs(batch[0] if isinstance(batch, (tuple, list)) and len(batch) == 2 else batch, criterion)


def pairs_of(
    batches: Batches | None, criterion: str, limit: int | None = None
) -> Iterator[tuple[Inputs, Tensor]]:
    """Model inputs and labels of each batch, at most ``limit`` batches.

    Raises:
        PlanError: there are no batches, or one is not (x, y).
    """
    for batch in _each(batches, criterion, limit):
        if not (isinstance(batch, (tuple, list)) and len(batch) == 2 and isinstance(batch[1], Tensor)):
            raise PlanError(
                f"criterion {criterion} needs labels: batches is {_HOW}, y a tensor; got {_kind(batch)}"
            )
        yield _inputs(batch[0], criterion), batch[1]


def _each(batches: Batches | None, criterion: str, limit: int | None) -> Iterator[Any]:
    if batches is None:
        raise PlanError(f"criterion {criterion} needs data: pass batches=, {_HOW}")
    given = batches() if callable(batches) else batches
    if isinstance(given, Tensor) or not isinstance(given, Iterable):
        raise PlanError(f"batches is {_kind(given)}; it must be {_HOW}")
    empty = True
    for batch in islice(given, limit):
        empty = False
        yield batch
    if empty:
        raise PlanError(
            f"criterion {criterion} needs data, but batches gave none (an iterator that was used up?)"
        )


def _inputs(x: Any, criterion: str) -> Inputs:
    found = x if isinstance(x, (tuple, list)) else (x,)
    if not found or not all(isinstance(item, Tensor) for item in found):
        raise PlanError(f"criterion {criterion} got {_kind(x)} for x: batches is {_HOW}, x a tensor")
    if any(item.dim() and not len(item) for item in found):
        raise PlanError(f"criterion {criterion} got a batch of no images")
    return tuple(found)


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}" + (f" of {len(value)}" if isinstance(value, (tuple, list)) else "")
