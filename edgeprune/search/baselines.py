"""Baseline strategies without a model of the reward: uniform ratios, and greedy ones by group sensitivity."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeprune.graph.classes import Ints
from edgeprune.search.projection import BudgetProjection
from edgeprune.search.variables import Floats

LEVELS = (0.25, 0.5, 0.75)  # shares at which each group is probed while the others keep their full width
PARTS = 20  # a greedy step removes this part of a group


@dataclass(frozen=True)
class GroupProbe:
    """One group at one share of its width; the others keep their full width."""

    place: int
    level: float


def probes(groups: int) -> list[GroupProbe]:
    """Return the probes that a sensitivity analysis of so many groups takes."""
    return [GroupProbe(place, level) for place in range(groups) for level in LEVELS]


def probed(projection: BudgetProjection, probe: GroupProbe) -> Ints:
    """Return the widths of a probe, which the budget does not limit."""
    widths, place = projection.sizes.copy(), probe.place
    widths[place] = max(int(projection.lowest[place]), round(probe.level * int(projection.sizes[place])))
    return widths


def by_sensitivity(projection: BudgetProjection, unpruned_reward: float, rewards: Sequence[float]) -> Ints:
    """Choose widths on the budget greedily: each step prunes the group that loses least reward for what it saves.

    Args:
        projection: onto the budget.
        unpruned_reward: the unpruned model's reward.
        rewards: rewards of `probes`, in their order.
    """
    count = len(projection.sizes)
    table = np.asarray(rewards, dtype=np.float64).reshape(count, len(LEVELS))
    widths = projection.sizes.copy()

    def price(option: tuple[int, int]) -> float:
        return _price(projection, widths, *option, unpruned_reward, table)

    while not projection.fits(widths):
        options = [(place, _narrower(projection, widths, place)) for place in range(count)]
        options = [(place, width) for place, width in options if width < widths[place]]
        place, width = min(options, key=price)
        widths[place] = width
    return projection.project(widths / projection.sizes)


def _narrower(projection: BudgetProjection, widths: Ints, place: int) -> int:
    """Return the next smaller width of a group, about a `PARTS`-th of it less."""
    step = int(projection.steps[place])
    part = step * max(1, round(int(projection.sizes[place]) / PARTS / step))
    return max(int(projection.lowest[place]), step * ((int(widths[place]) - 1) // step) - part + step)


def _price(
    projection: BudgetProjection,
    widths: Ints,
    place: int,
    width: int,
    unpruned_reward: float,
    table: Floats,
) -> float:
    """Return the reward lost per share of the budget saved when one group shrinks to ``width``."""
    size = float(projection.sizes[place])
    levels, values = [0.0, *LEVELS, 1.0], [0.0, *table[place], unpruned_reward]
    lost = np.interp(int(widths[place]) / size, levels, values) - np.interp(width / size, levels, values)
    after = widths.copy()
    after[place] = width
    saved = sum(
        (cost(widths) - cost(after)) / projection.goals[kind] for kind, cost in projection.costs.items()
    )
    return float(max(lost, 0.0) + 1e-9) / max(saved, 1e-12)
