"""Costs as functions of the groups' widths, and what changes when some groups change theirs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Move:
    """Groups and their new widths."""

    groups: tuple[int, ...]
    widths: tuple[int, ...]

    def apply(self, counts: Ints) -> Ints:
        """Return the widths afterwards."""
        out = counts.copy()
        out[list(self.groups)] = self.widths
        return out


@runtime_checkable
class WidthCost(Protocol):
    """A cost as a function of the groups' widths."""

    def __call__(self, widths: Ints) -> float:
        """Return the cost at these widths."""
        ...

    def moved(self, widths: Ints, before: float, groups: tuple[int, ...], to: tuple[int, ...]) -> float:
        """Return the cost after some groups change their width.

        Args:
            widths: (groups,) channels of each group.
            before: the cost there.
            groups: that change.
            to: their new widths.
        """
        ...


@dataclass(frozen=True)
class FunctionCost:
    """Any function of the widths as a `WidthCost`."""

    function: Callable[[Ints], float]

    def __call__(self, widths: Ints) -> float:
        """Return the cost at these widths."""
        return self.function(widths)

    def moved(self, widths: Ints, before: float, groups: tuple[int, ...], to: tuple[int, ...]) -> float:  # noqa: ARG002
        """Return the cost after some groups change their width, evaluated anew.

        Args:
            widths: (groups,) channels of each group.
            before: unused.
            groups: that change.
            to: their new widths.
        """
        return self.function(Move(groups, to).apply(widths))


class PerFlop:
    """The fraction of the time over the fraction of the FLOPs: time per FLOP, 1 in the unpruned model."""

    def __init__(self, time: WidthCost, flops: WidthCost, whole_ms: float, whole_flops: float) -> None:
        self.time, self.flops, self.scale = time, flops, whole_flops / whole_ms
        self._last: tuple[bytes, float, float] = (b"", 0.0, 0.0)

    def __call__(self, widths: Ints) -> float:
        """Return the cost at these widths."""
        return self._ratio(*self._both(widths))

    def moved(self, widths: Ints, before: float, groups: tuple[int, ...], to: tuple[int, ...]) -> float:  # noqa: ARG002
        """Return the cost after some groups change their width.

        Many moves start from the same widths, whose cost is cached.

        Args:
            widths: (groups,) channels of each group.
            before: unused.
            groups: that change.
            to: their new widths.
        """
        time, flops = self._both(widths)
        return self._ratio(
            self.time.moved(widths, time, groups, to), self.flops.moved(widths, flops, groups, to)
        )

    def _both(self, widths: Ints) -> tuple[float, float]:
        key = widths.tobytes()
        if self._last[0] != key:
            self._last = key, self.time(widths), self.flops(widths)
        return self._last[1:]

    def _ratio(self, time: float, flops: float) -> float:
        return self.scale * time / max(flops, 1.0)
