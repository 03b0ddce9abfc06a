"""The budget projection: it brings every policy onto the budget before the policy is evaluated."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edgeprune.errors import TargetError
from edgeprune.graph.classes import Ints
from edgeprune.search.variables import Floats

WidthsCost = Callable[[Ints], float]

ROUNDING = 1e-9  # relative: a goal counts as met within rounding errors
BISECTIONS = 40


@dataclass(frozen=True)
class BudgetProjection:
    """Maps a policy (the share that each group keeps) to the widths that a budget allows.

    Attributes:
        costs: kind -> cost of the groups' widths; it never falls as a width grows, but for a device's steps.
        goals: kind -> upper limit of that cost.
        lowest, sizes: smallest and largest width of each group.
        steps: widths are multiples of these, or the full width.
        mode: 'sequential' decides group after group, as the source does: each group gets what its
            predecessors leave, assuming that all later groups shrink to their minimum. 'scale' multiplies all
            shares by one factor. Either way, one factor for all groups then uses up the rest of the budget.
    """

    costs: Mapping[str, WidthsCost]
    goals: Mapping[str, float]
    lowest: Ints
    sizes: Ints
    steps: Ints
    mode: str = "scale"

    def check(self) -> None:
        """Raise TargetError where even the smallest widths exceed the budget."""
        for kind, cost in self.costs.items():
            reached, unpruned = cost(self.lowest), cost(self.sizes)
            if reached > self.goals[kind] * (1 + ROUNDING):
                raise TargetError(
                    f"{kind}={self.goals[kind] / unpruned:.3g} cannot be reached: at the smallest widths that a "
                    f"policy may choose, {reached / unpruned:.3f} of the {kind} remains; lower `lowest`, "
                    "`floor` or `align`, or raise the target"
                )

    def fits(self, widths: Ints) -> bool:
        """Return whether the widths are within every goal."""
        return all(cost(widths) <= self.goals[kind] * (1 + ROUNDING) for kind, cost in self.costs.items())

    def project(self, ratios: Floats) -> Ints:
        """Return the widths on the budget for the shares that a policy keeps of each group."""
        ratios = np.asarray(ratios, dtype=np.float64)
        if self.mode == "sequential":
            requested = self._rounded(ratios * self.sizes)
            ratios = (requested if self.fits(requested) else self._in_turn(requested)) / self.sizes
        ideal = ratios * self._factor(ratios) * self.sizes
        return self._spend(self._rounded(ideal), ideal)

    def _rounded(self, ideal: Floats) -> Ints:
        """Round widths down to steps, within the bounds."""
        down = self.steps * np.floor(ideal / self.steps + ROUNDING).astype(np.int64)
        down = np.where(ideal >= self.sizes * (1 - ROUNDING), self.sizes, down)
        return np.clip(down, self.lowest, self.sizes)

    def _in_turn(self, requested: Ints) -> Ints:
        """Decide group after group: the largest width that fits with earlier groups fixed and later ones least."""
        widths = self.lowest.copy()
        for place, limit in enumerate(requested.tolist()):
            least, step = int(self.lowest[place]), int(self.steps[place])
            choices = sorted({least, limit, *range(step * (least // step + 1), limit, step)})
            low, high = 0, len(choices) - 1
            while low < high:
                middle = (low + high + 1) // 2
                widths[place] = choices[middle]
                low, high = (middle, high) if self.fits(widths) else (low, middle - 1)
            widths[place] = choices[low]
        return widths

    def _factor(self, ratios: Floats) -> float:
        """Return the largest factor for the shares at which the rounded widths fit."""
        low, high = 0.0, 1.0 / max(1e-9, float(ratios.min(initial=1.0)))
        if self.fits(self._rounded(ratios * high * self.sizes)):
            return high
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            low, high = (
                (middle, high) if self.fits(self._rounded(ratios * middle * self.sizes)) else (low, middle)
            )
        return low

    def _spend(self, widths: Ints, ideal: Floats) -> Ints:
        """Widen the groups that rounding shrank most by one step, where that fits."""
        widths = widths.copy()
        missing = np.minimum(ideal / self.sizes, 1.0) - widths / self.sizes
        for place in np.argsort(-missing, kind="stable"):
            before, step = int(widths[place]), int(self.steps[place])
            widths[place] = min(step * (before // step + 1), int(self.sizes[place]))
            if not self.fits(widths):
                widths[place] = before
        return widths
