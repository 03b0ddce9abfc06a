"""What is searched: how many classes of each group of coupled channels stay."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeprune.budget import floors_of
from edgeprune.graph.classes import Graph, Ints
from edgeprune.graph.pieces import TiedGroups
from edgeprune.graph.plan import Plan

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Variables:
    """The groups that may lose channels, in the network's order, and their channels by importance.

    Attributes:
        graph: of the unpruned model.
        searched: the searched groups, those as one whose widths are one decision; the others stay whole.
        ranked: the classes of each, the most important first; of those that equal pieces tie in turn.
        importance: of these, shape (classes,) each.
        lowest: the least width of each, in levels: classes, but where equal pieces of a tensor lie in it.
        steps: widths are multiples of this, or whole.
    """

    graph: Graph
    searched: tuple[TiedGroups, ...]
    ranked: tuple[Ints, ...]
    importance: tuple[Floats, ...]
    lowest: Ints
    steps: Ints

    @classmethod
    def of(
        cls, graph: Graph, scores: Floats, *, share: float = 0.1, floor: int = 2, steps: Ints | None = None
    ) -> "Variables":
        """All groups that are wider than what must stay.

        Args:
            graph: of the unpruned model.
            scores: (classes,), higher is more important.
            share: of a group's classes that stays at least.
            floor: classes that stay at least.
            steps: (groups,): widths are multiples of them; None for any width.
        """
        all_steps = np.ones(len(graph.groups), dtype=np.int64) if steps is None else steps
        pairs = zip(graph.tied_groups, floors_of(graph, floor), strict=True)
        chosen = []
        for tied, floor_level in sorted(
            pairs, key=lambda pair: min(int(g.classes[0]) for g in pair[0].groups)
        ):
            step = max(1, min(tied.step([int(all_steps[index]) for index in tied.indices]), tied.size))
            least = max(int(floor_level), math.ceil(share * tied.size - 1e-9))
            least = min(tied.size, step * math.ceil(least / step))
            if least < tied.size:
                chosen.append((tied, least, step))
        ranked = [np.concatenate(tied.ranked(scores), 1).reshape(-1) for tied, _, _ in chosen]
        return cls(
            graph,
            tuple(tied for tied, _, _ in chosen),
            tuple(ranked),
            tuple(scores[classes] for classes in ranked),
            np.array([least for _, least, _ in chosen], dtype=np.int64),
            np.array([step for _, _, step in chosen], dtype=np.int64),
        )

    def __len__(self) -> int:
        return len(self.searched)

    @property
    def names(self) -> list[str]:
        """Of the groups; of the first where several are one decision."""
        return [tied.groups[0].name for tied in self.searched]

    @property
    def sizes(self) -> Ints:
        """Widths of the unpruned model."""
        return np.array([tied.size for tied in self.searched], dtype=np.int64)

    def everywhere(self, widths: Ints) -> Ints:
        """Widths of all the graph's groups, when the searched ones have these."""
        full = np.array([group.size for group in self.graph.groups], dtype=np.int64)
        for tied, width in zip(self.searched, widths, strict=True):
            full[list(tied.indices)] = tied.widths(int(width))
        return full

    def ratios(self, widths: Ints) -> Floats:
        """Share of each group that stays."""
        return np.asarray(widths / self.sizes, dtype=np.float64)

    def plan(self, widths: Ints) -> Plan:
        """The most important classes of each group, so many as ``widths`` says."""
        keep = np.ones(self.graph.classes, dtype=bool)
        for tied, classes, width in zip(self.searched, self.ranked, widths, strict=True):
            keep[classes[int(width) * len(classes) // tied.size :]] = False
        return Plan.of(self.graph, keep)
