"""Ways without a model of the reward: uniform ratios, and greedy ones by each group's sensitivity."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeprune.graph.classes import Ints
from edgeprune.search.variables import Floats
from edgeprune.search.wall import Wall

LEVELS = (0.25, 0.5, 0.75)  # shares at which each group is probed, all others whole
PARTS = 20  # a greedy step is this part of a group


@dataclass(frozen=True)
class Probe:
    """One group at one share of its width, all others whole."""

    place: int
    level: float


def probes(groups: int) -> list[Probe]:
    """All that the sensitivity of so many groups takes."""
    return [Probe(place, level) for place in range(groups) for level in LEVELS]


def probed(wall: Wall, probe: Probe) -> Ints:
    """The widths of a probe; they are not on the budget."""
    widths, place = wall.sizes.copy(), probe.place
    widths[place] = max(int(wall.lowest[place]), round(probe.level * int(wall.sizes[place])))
    return widths


def by_sensitivity(wall: Wall, whole: float, rewards: Sequence[float]) -> Ints:
    """Widths on the budget: step by step, the group loses channels that costs least reward for what it saves.

    Args:
        wall: the budget.
        whole: the unpruned model's reward.
        rewards: of `probes`, in their order.
    """
    count = len(wall.sizes)
    table = np.asarray(rewards, dtype=np.float64).reshape(count, len(LEVELS))
    widths = wall.sizes.copy()
    while not wall.fits(widths):
        options = [(place, _less(wall, widths, place)) for place in range(count)]
        options = [(place, less) for place, less in options if less < widths[place]]
        place, less = min(options, key=lambda one: _price(wall, widths, one[0], one[1], whole, table))
        widths[place] = less
    return wall.project(widths / wall.sizes)


def _less(wall: Wall, widths: Ints, place: int) -> int:
    """A step down, a part of the group."""
    step = int(wall.steps[place])
    part = step * max(1, round(int(wall.sizes[place]) / PARTS / step))
    return max(int(wall.lowest[place]), step * ((int(widths[place]) - 1) // step) - part + step)


def _price(wall: Wall, widths: Ints, place: int, less: int, whole: float, table: Floats) -> float:
    """Reward lost for each share of the budget that is saved."""
    size = float(wall.sizes[place])
    levels, values = [0.0, *LEVELS, 1.0], [0.0, *table[place], whole]
    lost = np.interp(int(widths[place]) / size, levels, values) - np.interp(less / size, levels, values)
    after = widths.copy()
    after[place] = less
    saved = sum((cost(widths) - cost(after)) / wall.goals[kind] for kind, cost in wall.costs.items())
    return float(max(lost, 0.0) + 1e-9) / max(saved, 1e-12)
