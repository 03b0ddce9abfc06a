"""Checks of the options that criteria take; each mistake is one line."""

import math
from collections.abc import Callable
from typing import Any

from edgeprune.errors import PlanError, known


def checked_integer(name: str, value: Any, least: int = 1) -> int:
    """Return ``value``, checked to be a whole number.

    Args:
        name: of the option, for the error.
        value: what the caller passed.
        least: lower limit.

    Raises:
        PlanError: it is not a whole number of at least ``least``.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise PlanError(f"{name} is {value!r}; it is a whole number of at least {least}")
    return value


def count_or_all(name: str, value: Any) -> int | None:
    """Return ``value``, checked by `checked_integer`; None means all."""
    return None if value is None else checked_integer(name, value)


def number_between(name: str, value: Any, least: float = 0.0, most: float = math.inf) -> float:
    """Return ``value`` as a float, checked to be finite and within limits.

    Args:
        name: of the option, for the error.
        value: what the caller passed.
        least: lower limit.
        most: upper limit.

    Raises:
        PlanError: it is not a finite number in [least, most].
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise PlanError(f"{name} is {value!r}, not a finite number")
    if not least <= value <= most:
        bound = f"of at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
        raise PlanError(f"{name} is {value!r}; it is a number {bound}")
    return float(value)


def choice(name: str, value: Any, table: dict[str, Any]) -> Any:
    """Return ``table[value]``.

    Args:
        name: of the option, for the error.
        value: what the caller passed.
        table: what each allowed value stands for.

    Raises:
        PlanError: the table has no such value; lists the allowed ones.
    """
    if not isinstance(value, str) or value not in table:
        raise PlanError(known(name, str(value), list(table)))
    return table[value]


def function(name: str, value: Any) -> Callable[..., Any]:
    """Return ``value``, checked to be callable; raises PlanError if it is not."""
    if not callable(value):
        raise PlanError(f"{name} is {value!r}, which cannot be called")
    return value
