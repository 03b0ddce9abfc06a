"""Feedback control of `interacting`: the phase meets its target without a restart."""

from dataclasses import dataclass, field

import numpy as np

from edgeprune.graph.cost import Floats


def scheduled_fraction(
    iteration: int, max_iter: int, start: Floats, target: Floats, level_share: float = 0.25
) -> Floats:
    """Return the active fractions to aim for: a linear ramp from ``start`` to ``target``, then constant.

    Args:
        iteration: of the phase, from 0.
        max_iter: iterations of the phase.
        start: (sets,) active fractions at the beginning.
        target: (sets,) active fractions at the end.
        level_share: final share of the phase that is constant, so that the kept channels stabilise.
    """
    ramp = max(1.0, (1 - level_share) * max_iter)
    return start + (target - start) * min(1.0, iteration / ramp)


@dataclass
class Controller:
    """Proportional-integral control of the mask's progress by the gap between active and scheduled fraction.

    It steers the masks of the whole network together, or those of several sets of channels, each to its own target.
    The mask's steady value is evidence + 2 (offset - progress), and evidence spreads by about 0.9, so a
    change of progress by d moves the active fraction by about d: gains are in those units. They are the
    same for all but short phases, which must be quicker to catch up with the ramp before they end.
    ``interacting`` is what is added to the iteration count.

    Attributes:
        target: (sets,) active fractions at the end.
        start: (sets,) active fractions at the beginning; all by default.
        progress: (sets,), without the proportional part.
    """

    target: Floats
    max_iter: int
    start: Floats = field(default_factory=lambda: np.ones(1))
    proportional: float = 0.3
    integral: float = 0.05
    limit: float = 3.0  # |progress| beyond which every channel is on, or off, whatever the evidence
    progress: Floats = field(default_factory=lambda: np.zeros(1))

    def interacting(self, iteration: int, active: Floats) -> Floats:
        """Return `interacting` of each set for the next iteration, from the active fractions after this one."""
        gap = active - scheduled_fraction(iteration, self.max_iter, self.start, self.target)
        gain = max(self.integral, min(0.25, 20 / self.max_iter))  # above 0.25 it overshoots
        self.progress = np.clip(self.progress + gain * gap, -self.limit, self.limit)
        progress = self.progress + self.proportional * gap
        return progress * self.max_iter - iteration
