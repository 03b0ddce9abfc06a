"""The widths that a knapsack may choose: levels of each group, the channels that they keep, and moves between them."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeprune.budget import floors_of
from edgeprune.graph.classes import Graph
from edgeprune.latency.blocks import removable
from edgeprune.latency.width_costs import Ints, Move

Floats = NDArray[np.float64]
EMPTY = np.zeros(0, dtype=np.int64)


class WidthLevels:
    """Widths of each group that are multiples of its step; tied groups change theirs together.

    Attributes:
        tied: indices of groups whose widths are levels of one choice.
        ranked: for each group its classes, the most important first.
        widths: for each group its widths, the full one first.
        kept: for each group the importance that is kept, by width.
        blocks: sets of groups that can be removed together.

    Args:
        graph: the traced model.
        scores: (graph.classes,), higher is more important.
        steps: for each group, the multiple that widths are kept at.
        floor: fewest channels of a group, except for blocks that are removed completely.
        blocks: sets of groups that can be removed together; None finds them.
    """

    def __init__(
        self,
        graph: Graph,
        scores: Floats,
        steps: Ints,
        floor: int = 2,
        blocks: Sequence[tuple[int, ...]] | None = None,
    ) -> None:
        self.classes = graph.classes
        self.tied = [tied.indices for tied in graph.tied_groups]
        self.ranked, self.widths = [EMPTY] * len(graph.groups), [[0]] * len(graph.groups)
        for tied, least in zip(graph.tied_groups, floors_of(graph, floor), strict=True):
            step = tied.step([int(steps[index]) for index in tied.indices])
            levels = [n for n in range(tied.size, 0, -1) if n == tied.size or (n % step == 0 and n >= least)]
            for place, (index, ranked) in enumerate(zip(tied.indices, tied.ranked(scores), strict=True)):
                self.ranked[index] = ranked.reshape(-1)
                self.widths[index] = [tied.widths(level)[place] for level in levels]
        self.kept = [np.append(0.0, np.cumsum(scores[ranked])) for ranked in self.ranked]
        blocks = removable(graph) if blocks is None else blocks
        # Removing one piece without the others would leave them unequal.
        self.blocks = [
            b for b in blocks if all(set(tied) <= {*b} or not {*b} & {*tied} for tied in self.tied)
        ]

    def keep(self, counts: Ints) -> NDArray[np.bool_]:
        """Return the keep-mask of the most important channels of each group, (classes,)."""
        keep = np.zeros(self.classes, dtype=bool)
        for ranked, count in zip(self.ranked, counts, strict=True):
            keep[ranked[:count]] = True
        return keep

    def narrower(self, counts: Ints, most: int | None = None) -> Iterator[Move]:
        """Yield each tied set of groups at its next ``most`` lower widths, and the removal of every block."""
        for tied in self.tied:
            lower = [place for place, width in enumerate(self.widths[tied[0]]) if width < counts[tied[0]]]
            yield from (self._move(tied, place) for place in lower[:most])
        yield from self.without(counts)

    def without(self, counts: Ints) -> Iterator[Move]:
        """Yield the removal of every block."""
        for block in self.blocks:
            if counts[list(block)].any():
                yield Move(block, (0,) * len(block))

    def wider(self, counts: Ints) -> Iterator[Move]:
        """Yield every group one step up, and every removed block at its fewest channels."""
        for tied in self.tied:
            above = [place for place, width in enumerate(self.widths[tied[0]]) if width > counts[tied[0]]]
            if counts[tied[0]] and above:
                yield self._move(tied, above[-1])
        for block in self.blocks:
            if not counts[list(block)].any():
                yield Move(block, tuple(self.widths[group][-1] for group in block))

    def _move(self, tied: tuple[int, ...], place: int) -> Move:
        """Return the move of tied groups to their widths at one level."""
        return Move(tied, tuple(self.widths[group][place] for group in tied))
