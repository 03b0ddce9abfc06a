"""Checks of single values. Each says in one line what is wrong, and takes the name under which the value is shown."""

import math
import numbers
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edgeprune.errors import EdgePruneError, known, near_miss


class Check(Protocol):
    """Refuses a value that makes no sense by itself."""

    def __call__(self, shown: str, value: Any, error: type[EdgePruneError] = EdgePruneError) -> None:
        """Check a value.

        Args:
            shown: the option as the message shows it.
            value: to be checked; never None.
            error: to be raised.
        """


@dataclass(frozen=True)
class Count:
    """A whole number within bounds, both included."""

    least: int
    most: int

    def __call__(self, shown: str, value: Any, error: type[EdgePruneError] = EdgePruneError) -> None:
        """Refuse what is not a whole number, is too small, or is absurdly large."""
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise error(f"{shown} must be a whole number, not {short(value)}")
        if int(value) < self.least:
            raise error(f"{shown} must be at least {self.least}, not {short(int(value))}")
        if int(value) > self.most:
            raise error(f"{shown} must be at most {self.most:,}, not {short(int(value))}")


@dataclass(frozen=True)
class Quantity:
    """A finite number within bounds.

    Attributes:
        low, high: the bounds.
        open_low, open_high: whether a bound itself is refused.
    """

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False

    def __call__(self, shown: str, value: Any, error: type[EdgePruneError] = EdgePruneError) -> None:
        """Refuse what is not a number, or out of bounds; NaN is always out of bounds."""
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise error(f"{shown} must be a number, not {short(value)}")
        number = float(value)
        above = self.low < number if self.open_low else self.low <= number
        below = number < self.high if self.open_high else number <= self.high
        if not (above and below and math.isfinite(number)):
            raise error(f"{shown} must be {self.range}, not {short(value)}")

    @property
    def range(self) -> str:
        """Return the bounds in words."""
        low = f"above {self.low:g}" if self.open_low else f"at least {self.low:g}"
        return f"{low} and {'below' if self.open_high else 'at most'} {self.high:g}"


@dataclass(frozen=True)
class Choice:
    """One of some names.

    Attributes:
        names: those there are; a function where they are known only later, or costly to import.
        listed: those that help lists, where it is to list fewer.
    """

    names: Sequence[str] | Callable[[], Sequence[str]]
    listed: Callable[[], Sequence[str]] | None = None

    def __call__(self, shown: str, value: Any, error: type[EdgePruneError] = EdgePruneError) -> None:
        """Refuse an unknown name, with the near miss."""
        Text()(shown, value, error)
        names = _made(self.names)
        if value not in names:
            raise error(f"{shown}: {known(_kind(shown), str(value), list(names))}")

    @property
    def text(self) -> str:
        """Return the names as help writes them: 'a, b or c'."""
        names = list(_made(self.listed or self.names))
        return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


@dataclass(frozen=True)
class ChoiceOrOwn(Choice):
    """One of some names, or the user's own ``package.module:attribute``, which is looked up where it is used."""

    def __call__(self, shown: str, value: Any, error: type[EdgePruneError] = EdgePruneError) -> None:
        """Refuse an unknown name that is none of a user's own."""
        if not (isinstance(value, str) and ":" in value):
            super().__call__(shown, value, error)


@dataclass(frozen=True)
class Pattern:
    """Text of a form.

    Attributes:
        pattern: of the whole text, a regular expression.
        forms: as a person would write it; the message lists them.
    """

    pattern: str
    forms: tuple[str, ...]

    def __call__(self, shown: str, value: Any, error: type[EdgePruneError] = EdgePruneError) -> None:
        """Refuse text of another form, with the near miss."""
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            hint = near_miss(short(value), list(self.forms))
            raise error(f"{shown}: unknown {_kind(shown)} {short(value)!r}{hint}; write {self.text}")

    @property
    def text(self) -> str:
        """Return the forms as help writes them."""
        return Choice(self.forms).text


@dataclass(frozen=True)
class Duration:
    """A time as ``90s``, ``30m`` or ``1h``, within bounds in seconds."""

    low: float
    high: float

    def __call__(self, shown: str, value: Any, error: type[EdgePruneError] = EdgePruneError) -> None:
        """Refuse what is no duration, or out of bounds."""
        if not isinstance(value, str) or not re.fullmatch(r"\d{1,6}(\.\d{1,3})?[smh]", value):
            raise error(f"{shown} must be a time such as 90s, 30m or 1h, not {short(value)}")
        if not self.low <= seconds_of(value) <= self.high:
            raise error(f"{shown} must be from {self.low:g} to {self.high:g} seconds, not {value}")


def seconds_of(duration: str) -> float:
    """Return the seconds of a `Duration`.

    >>> seconds_of("1.5m")
    90.0
    """
    return float(duration[:-1]) * {"s": 1, "m": 60, "h": 3600}[duration[-1]]


@dataclass(frozen=True)
class Text:
    """Text, or several, each with something in it."""

    def __call__(self, shown: str, value: Any, error: type[EdgePruneError] = EdgePruneError) -> None:
        """Refuse text without a sign in it."""
        if isinstance(value, str) and not value.strip():
            raise error(f"{shown} is empty: give a value, or leave it out")
        if isinstance(value, list | tuple) and any(
            isinstance(part, str) and not part.strip() for part in value
        ):
            raise error(f"{shown} has an empty name: give a value, or leave it out")


def short(value: Any) -> str:
    """Return a value as text for a message, cut where it is long."""
    if isinstance(value, int) and abs(value) >= 10**30:
        return "a number of more than 30 digits"
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _made(names: Sequence[str] | Callable[[], Sequence[str]]) -> Sequence[str]:
    return names() if callable(names) else names


def _kind(shown: str) -> str:
    """Return an option's name as a word of a sentence: '--prune-schedule' and '`prune_schedule`' as prune-schedule."""
    return shown.strip("`-").replace("_", "-")
