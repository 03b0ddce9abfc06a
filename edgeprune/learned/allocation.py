"""How much each group of channels loses: by what its channels are worth to the outputs, not by the masks."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edgeprune.budget import Budget
from edgeprune.graph.classes import Bools, Graph, Ints
from edgeprune.graph.cost import Floats


@dataclass(frozen=True)
class Allocation:
    """The worth of each group's channels, best first, from which a budget chooses the groups' widths.

    Evidence is normalised within each layer, so that masks alone take nearly the same share from every layer. Which
    channels of a group go is still theirs to say.

    Attributes:
        graph: of the network.
        scores: (classes,) worth to the outputs; see `edgeprune.effects.selection.sensitivity_scores`.
    """

    graph: Graph
    scores: Floats

    @cached_property
    def levels(self) -> list[Ints]:
        """For each set of groups that change their widths together: (levels, classes of one), the best first."""
        return self._ranked(self.scores)

    def _ranked(self, scores: Floats) -> list[Ints]:
        return [tied.levels(scores) for tied in self.graph.tied_groups]

    def shares(self, budget: Budget) -> Floats:
        """Return the share of each set's channels that meets a budget, (sets,).

        Args:
            budget: of the unpruned network.

        Raises:
            TargetError: the budget cannot be met.
        """
        return self.shares_of(budget.select(self.graph, self.scores).keep)

    def shares_of(self, keep: Bools) -> Floats:
        """Return the share of each set's channels that is kept, (sets,).

        Args:
            keep: (classes,) mask of kept classes.
        """
        return np.array([keep[levels].mean() for levels in self.levels])

    def by_class(self, values: Floats) -> Floats:
        """Return the value of each class's set, (classes,); 0 for classes of none.

        Args:
            values: (sets,).
        """
        result = np.zeros(self.graph.classes)
        for levels, value in zip(self.levels, values, strict=True):
            result[levels] = value
        return result

    def in_order(self, masks: Floats) -> Floats:
        """Return the scores with those of each set given to its channels in the order of the masks, (classes,).

        Args:
            masks: (classes,), higher is more important.
        """
        result = self.scores.copy()
        for levels, by_masks in zip(self.levels, self._ranked(masks), strict=True):
            result[by_masks] = self.scores[levels]
        return result
