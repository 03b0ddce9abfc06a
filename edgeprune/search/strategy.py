"""The variables of a search, as a pure function of the evaluated policies: clusters first, then rollback.

A policy is described by the shares that its groups kept after the projection onto the budget. So every
evaluation is part of the history of every later stage, whichever variables proposed it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeprune.search.clusters import Dendrogram, members
from edgeprune.search.options import SearchOptions
from edgeprune.search.variables import Floats

DESIGN = 10  # Sobol points before the first model; the source's number
FEW = 0.4  # least share of the trials for the first stage, up to the whole design, where there are few trials
BEST = 10  # number of best policies whose mean is the centre of a stage's box; the source's number
NARROW, WIDE = 0.02, 0.1  # half the width of the box at the end of a search, and at its beginning
# When a stage ends, as shares of all trials; the source's are 80 and 100, 130 and 150, and 20, of 200. Here
# the last stage has most of them, since clusters converge early.
ARMED, FIRED = (0.15, 0.3), (0.3, 0.4)
PATIENCE = 0.1


@dataclass(frozen=True)
class SearchStage:
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
        """Number of variables."""
        return max(self.labels) + 1

    def expand(self, values: Sequence[float] | Floats) -> Floats:
        """Return the ratio of each group for values of the variables."""
        return np.asarray(values, dtype=np.float64)[list(self.labels)]

    def reduce(self, ratios: Floats) -> Floats:
        """Return the value of each variable that is nearest to a policy."""
        return means(ratios, self.labels)


@dataclass(frozen=True)
class Strategy:
    """Decides how the variables of a search change as it proceeds.

    Attributes:
        options: of the search.
        dendrogram: of the groups.
    """

    options: SearchOptions
    dendrogram: Dendrogram

    def first(self) -> SearchStage:
        """Return the first stage; raises SearchError for more clusters than groups."""
        clusters = self.options.clusters if self.options.clustered else 0
        if not clusters:
            return self._unbounded("layers", self._each())
        return self._unbounded("clusters", self.dendrogram.cut(clusters))

    def stage(self, rewards: Sequence[float], policies: Sequence[Floats]) -> SearchStage:
        """Return the current stage.

        Args:
            rewards: of the evaluated policies, in order.
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
            stage = box(
                name, labels, rewards, policies, self.options.lowest, 1 - len(rewards) / self.options.trials
            )
        return stage

    def _steps(self) -> list[str]:
        """Return the names of the stages after the first."""
        if self.options.rollback == "gradual" and self.options.bridge < len(self.dendrogram.names):
            return ["bridge", "layers"]
        return [] if self.options.rollback == "none" else ["layers"]

    def _each(self) -> tuple[int, ...]:
        """Return labels that give each group its own variable."""
        return tuple(range(len(self.dendrogram.names)))

    def _unbounded(self, name: str, labels: tuple[int, ...]) -> SearchStage:
        """Return a stage whose variables have the full range that the options allow."""
        count = max(labels) + 1
        return SearchStage(name, labels, (self.options.lowest,) * count, (1.0,) * count)

    def _fired(self, rewards: Sequence[float], start: int, number: int) -> int:
        """Return after how many evaluations a stage ended that began at ``start``; -1 while it continues."""
        trials = self.options.trials
        armed, fired, patience = (round(trials * x) for x in (ARMED[number], FIRED[number], PATIENCE))
        armed = max(armed, 0 if start else min(DESIGN, round(FEW * trials)))
        fired = max(fired, armed, start + patience)
        improved, best = start, max(rewards[:start], default=-np.inf)
        for done in range(start, len(rewards) + 1):
            if done > start and rewards[done - 1] > best:
                improved, best = done, rewards[done - 1]
            if done >= max(fired, 1) or (done >= armed and done - improved >= max(patience, 1)):
                return done
        return -1


def box(
    name: str,
    labels: tuple[int, ...],
    rewards: Sequence[float],
    policies: Sequence[Floats],
    lowest: float,
    left: float,
) -> SearchStage:
    """Return a stage around the mean of the best policies so far, narrower as fewer trials are left.

    The source's box has one interval for all variables, spans the ten best policies, and does not move during
    the stage. With dozens of variables nearly all of it is far from every good policy. The mean of good
    policies is better than most of them, since their random errors cancel out (the recombination of
    evolution strategies: Beyer, Toward a Theory of Evolution Strategies, 1995).

    Args:
        name: of the stage.
        labels: the variable of each group.
        rewards: of the evaluated policies.
        policies: the shares that each group kept.
        lowest: lower limit of each variable.
        left: share of all trials that are left.
    """
    best = np.argsort(-np.asarray(rewards), kind="stable")[:BEST]
    values = np.mean([means(policies[place], labels) for place in best], axis=0)
    margin = NARROW + (WIDE - NARROW) * max(0.0, left)
    low = np.clip(values - margin, lowest, 1 - margin)
    high = np.clip(values + margin, lowest + margin, 1.0)
    return SearchStage(name, labels, tuple(low.tolist()), tuple(high.tolist()))


def means(ratios: Floats, labels: tuple[int, ...]) -> Floats:
    """Return the mean ratio of the groups of each variable."""
    return np.array([float(ratios[group].mean()) for group in members(labels)])
