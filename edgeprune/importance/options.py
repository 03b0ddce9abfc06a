"""Checks of the numbers that criteria take; each mistake is one line."""

import math
from collections.abc import Callable
from typing import Any

from edgeprune.errors import PlanError, known


def whole(name: str, value: Any, least: int = 1) -> int:
    """``value`` if it is a whole number of at least ``least``, else PlanError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise PlanError(f"{name} is {value!r}; it is a whole number of at least {least}")
    return value


def at_most_all(name: str, value: Any) -> int | None:
    """As `whole`; None means all."""
    return None if value is None else whole(name, value)


def number(name: str, value: Any, least: float = 0.0, most: float = math.inf) -> float:
    """``value`` if it is a finite number in [least, most], else PlanError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise PlanError(f"{name} is {value!r}, not a finite number")
    if not least <= value <= most:
        bound = f"of at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
        raise PlanError(f"{name} is {value!r}; it is a number {bound}")
    return float(value)


def choice(name: str, value: Any, table: dict[str, Any]) -> Any:
    """``table[value]``, else PlanError with the known ones."""
    if not isinstance(value, str) or value not in table:
        raise PlanError(known(name, str(value), list(table)))
    return table[value]


def function(name: str, value: Any) -> Callable[..., Any]:
    """``value`` if it can be called, else PlanError."""
    if not callable(value):
        raise PlanError(f"{name} is {value!r}, which cannot be called")
    return value
