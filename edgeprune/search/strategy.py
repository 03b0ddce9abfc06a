"""Which variables a search has, as a pure function of what has been evaluated: clusters first, then rollback.

A policy is given by the shares that its groups really kept, after the budget wall. So every evaluation is
part of the history of every later stage, whichever variables it was asked in.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeprune.search.clusters import Dendrogram, members
from edgeprune.search.options import SearchOptions
from edgeprune.search.variables import Floats

BEST = 10  # policies that span the box of the next stage; the source's number
MARGIN = 0.1  # about them
# When a stage ends, as shares of all trials; the source's 80 and 100, 130 and 150, 20, of 200.
ARMED, FIRED = (0.4, 0.65), (0.5, 0.75)
PATIENCE = 0.1


@dataclass(frozen=True)
class Stage:
    """Variables of one stage.

    Attributes:
        name: "clusters", "bridge" or "layers".
        labels: the variable of each group.
        low, high: bounds of each variable.
    """

    name: str
    labels: tuple[int, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def variables(self) -> int:
        """How many."""
        return max(self.labels) + 1

    def expand(self, values: Sequence[float] | Floats) -> Floats:
        """The ratio of each group."""
        return np.asarray(values, dtype=np.float64)[list(self.labels)]

    def reduce(self, ratios: Floats) -> Floats:
        """The value of each variable that comes nearest to some policy."""
        return means(ratios, self.labels)


@dataclass(frozen=True)
class Strategy:
    """How the variables of a search change on its way.

    Attributes:
        options: what was asked.
        dendrogram: of the groups.
    """

    options: SearchOptions
    dendrogram: Dendrogram

    def first(self) -> Stage:
        """Where a search begins; raises SearchError for more clusters than groups."""
        clusters = self.options.clusters if self.options.clustered else 0
        if not clusters:
            return self._whole("layers", self._each())
        return self._whole("clusters", self.dendrogram.cut(clusters))

    def stage(self, rewards: Sequence[float], policies: Sequence[Floats]) -> Stage:
        """Where a search stands.

        Args:
            rewards: of what was evaluated so far, in order.
            policies: the shares that each group kept.
        """
        stage = self.first()
        steps = self._steps() if stage.name == "clusters" else []
        start = 0
        for number, name in enumerate(steps):
            start = self._fired(rewards, start, number)
            if start < 0:
                break
            labels = self.dendrogram.cut(self.options.bridge) if name == "bridge" else self._each()
            stage = box(name, labels, rewards[:start], policies[:start], self.options.lowest)
        return stage

    def _steps(self) -> list[str]:
        """The stages after the first."""
        if self.options.rollback == "gradual" and self.options.bridge < len(self.dendrogram.names):
            return ["bridge", "layers"]
        return [] if self.options.rollback == "none" else ["layers"]

    def _each(self) -> tuple[int, ...]:
        """A variable for each group."""
        return tuple(range(len(self.dendrogram.names)))

    def _whole(self, name: str, labels: tuple[int, ...]) -> Stage:
        """Within all that is allowed."""
        count = max(labels) + 1
        return Stage(name, labels, (self.options.lowest,) * count, (1.0,) * count)

    def _fired(self, rewards: Sequence[float], start: int, number: int) -> int:
        """After how many evaluations a stage ended that began at ``start``; -1 while it goes on."""
        trials = self.options.trials
        armed, fired, patience = (round(trials * x) for x in (ARMED[number], FIRED[number], PATIENCE))
        improved, best = start, max(rewards[:start], default=-np.inf)
        for done in range(start, len(rewards) + 1):
            if done > start and rewards[done - 1] > best:
                improved, best = done, rewards[done - 1]
            if done >= max(fired, 1) or (done >= armed and done - improved >= max(patience, 1)):
                return done
        return -1


def box(
    name: str, labels: tuple[int, ...], rewards: Sequence[float], policies: Sequence[Floats], lowest: float
) -> Stage:
    """A stage about the best policies: each variable from its least to its largest there, and a margin.

    The source takes one interval for all variables; theirs differ, and with dozens of them what lies far from
    every good policy is nearly all of the space.
    """
    best = np.argsort(-np.asarray(rewards), kind="stable")[:BEST]
    values = np.stack([means(policies[place], labels) for place in best])
    low = np.clip(values.min(0) - MARGIN, lowest, 1 - MARGIN)
    high = np.clip(values.max(0) + MARGIN, lowest + MARGIN, 1.0)
    return Stage(name, labels, tuple(low.tolist()), tuple(high.tolist()))


def means(ratios: Floats, labels: tuple[int, ...]) -> Floats:
    """Of the groups of each variable."""
    return np.array([float(ratios[group].mean()) for group in members(labels)])
