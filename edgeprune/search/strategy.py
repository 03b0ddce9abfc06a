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

BEST = 10  # policies whose ratios span the box of the next stage; the source's number
# When a stage ends, as shares of all trials; the source's 80 and 100, 130 and 150, 20, of 200.
ARMED, FIRED = (0.4, 0.65), (0.5, 0.75)
PATIENCE = 0.1
NARROWEST = 0.1  # a box


@dataclass(frozen=True)
class Stage:
    """Variables of one stage.

    Attributes:
        name: "clusters", "bridge" or "layers".
        labels: the variable of each group.
        low, high: bounds of every variable.
    """

    name: str
    labels: tuple[int, ...]
    low: float
    high: float

    @property
    def variables(self) -> int:
        """How many."""
        return max(self.labels) + 1

    def expand(self, values: Sequence[float]) -> Floats:
        """The ratio of each group."""
        return np.asarray(values, dtype=np.float64)[list(self.labels)]

    def reduce(self, ratios: Floats) -> Floats:
        """The value of each variable that comes nearest to some policy, within the bounds."""
        found = [float(ratios[group].mean()) for group in members(self.labels)]
        return np.clip(found, self.low, self.high)


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
            return self._layers(self.options.lowest, 1.0)
        return Stage("clusters", self.dendrogram.cut(clusters), self.options.lowest, 1.0)

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
            low, high = box(rewards[:start], policies[:start], self.options.lowest)
            stage = self._bridge(low, high) if name == "bridge" else self._layers(low, high)
        return stage

    def _steps(self) -> list[str]:
        """The stages after the first."""
        if self.options.rollback == "gradual" and self.options.bridge < len(self.dendrogram.names):
            return ["bridge", "layers"]
        return [] if self.options.rollback == "none" else ["layers"]

    def _bridge(self, low: float, high: float) -> Stage:
        return Stage("bridge", self.dendrogram.cut(self.options.bridge), low, high)

    def _layers(self, low: float, high: float) -> Stage:
        return Stage("layers", tuple(range(len(self.dendrogram.names))), low, high)

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
    rewards: Sequence[float], policies: Sequence[Floats], lowest: float, best: int = BEST
) -> tuple[float, float]:
    """The least and the largest ratio of the best policies, at least a tenth apart."""
    order = np.argsort(-np.asarray(rewards), kind="stable")[:best]
    entries = np.concatenate([policies[place] for place in order])
    low, high = max(lowest, float(entries.min())), min(1.0, float(entries.max()))
    if high - low < NARROWEST:
        low = float(np.clip((low + high - NARROWEST) / 2, lowest, 1 - NARROWEST))
        high = low + NARROWEST
    return low, high
