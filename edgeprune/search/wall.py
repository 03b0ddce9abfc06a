"""The budget wall: every policy is brought onto the budget before it is evaluated."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edgeprune.errors import TargetError
from edgeprune.graph.classes import Ints
from edgeprune.search.variables import Floats

Cost = Callable[[Ints], float]

CLOSE = 1e-9  # a goal is met to rounding
HALVINGS = 40


@dataclass(frozen=True)
class Wall:
    """Which widths a budget allows.

    Attributes:
        costs: kind -> what widths take; it does not fall where a width grows, but for a device's steps.
        goals: kind -> the most they may take.
        lowest, sizes: the least and the largest width of each group.
        steps: widths are multiples of these, or whole.
        way: 'sequential' decides group after group, as the source does: each has what its predecessors
            leave, if all that follow go down to their least. 'scale' multiplies all by one factor.
            Whatever is left of the budget then is given to all, by one factor.
    """

    costs: Mapping[str, Cost]
    goals: Mapping[str, float]
    lowest: Ints
    sizes: Ints
    steps: Ints
    way: str = "scale"

    def check(self) -> None:
        """Raise TargetError where not even the least widths are within the budget."""
        for kind, cost in self.costs.items():
            reached, whole = cost(self.lowest), cost(self.sizes)
            if reached > self.goals[kind] * (1 + CLOSE):
                raise TargetError(
                    f"{kind}={self.goals[kind] / whole:.3g} cannot be reached: with the least widths that a "
                    f"policy may ask for, {reached / whole:.3f} of the {kind} remains; lower --lowest, "
                    "--floor or --align, or raise the target"
                )

    def fits(self, widths: Ints) -> bool:
        """Whether they are within every goal."""
        return all(cost(widths) <= self.goals[kind] * (1 + CLOSE) for kind, cost in self.costs.items())

    def project(self, ratios: Floats) -> Ints:
        """The widths on the budget for a policy that asks for these shares of each group."""
        ratios = np.asarray(ratios, dtype=np.float64)
        if self.way == "sequential":
            asked = self._rounded(ratios * self.sizes)
            ratios = (asked if self.fits(asked) else self._in_turn(asked)) / self.sizes
        wanted = ratios * self._factor(ratios) * self.sizes
        return self._spend(self._rounded(wanted), wanted)

    def _rounded(self, wanted: Floats) -> Ints:
        """Down to steps, and within the bounds."""
        down = self.steps * np.floor(wanted / self.steps + CLOSE).astype(np.int64)
        down = np.where(wanted >= self.sizes * (1 - CLOSE), self.sizes, down)
        return np.clip(down, self.lowest, self.sizes)

    def _in_turn(self, asked: Ints) -> Ints:
        """Group after group: the most it may have with the decided ones before it and the least after."""
        widths = self.lowest.copy()
        for place, wanted in enumerate(asked.tolist()):
            least, step = int(self.lowest[place]), int(self.steps[place])
            choices = sorted({least, wanted, *range(step * (least // step + 1), wanted, step)})
            low, high = 0, len(choices) - 1
            while low < high:
                middle = (low + high + 1) // 2
                widths[place] = choices[middle]
                low, high = (middle, high) if self.fits(widths) else (low, middle - 1)
            widths[place] = choices[low]
        return widths

    def _factor(self, ratios: Floats) -> float:
        """The largest that the ratios may be multiplied by."""
        low, high = 0.0, 1.0 / max(1e-9, float(ratios.min(initial=1.0)))
        if self.fits(self._rounded(ratios * high * self.sizes)):
            return high
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (
                (middle, high) if self.fits(self._rounded(ratios * middle * self.sizes)) else (low, middle)
            )
        return low

    def _spend(self, widths: Ints, wanted: Floats) -> Ints:
        """One step more for the groups that rounding took most from, where it fits."""
        widths = widths.copy()
        missing = np.minimum(wanted / self.sizes, 1.0) - widths / self.sizes
        for place in np.argsort(-missing, kind="stable"):
            before, step = int(widths[place]), int(self.steps[place])
            widths[place] = min(step * (before // step + 1), int(self.sizes[place]))
            if not self.fits(widths):
                widths[place] = before
        return widths
