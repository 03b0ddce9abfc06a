"""The variables of a search: how many classes each group of coupled channels keeps."""

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
    """The prunable groups, in the network's order, and their channels by importance.

    Attributes:
        graph: of the unpruned model.
        searched: the searched groups, tied ones as one decision; the other groups keep their full width.
        ranked: the classes of each, the most important first; in turn from each group that equal pieces tie.
        importance: scores of these, shape (classes,) each.
        lowest: the smallest width of each, in levels: classes, unless equal pieces of a tensor tie several.
        steps: widths are multiples of this, or the full width.
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
        """Collect the groups that are wider than their minimum.

        Args:
            graph: of the unpruned model.
            scores: (classes,), higher is more important.
            share: least share of a group's classes that is kept.
            floor: least number of channels of a layer that is kept.
            steps: (groups,), widths are multiples of them; None for any width.
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
        ranked = [tied.levels(scores).reshape(-1) for tied, _, _ in chosen]
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
        """Names of the groups; the first one's where several are one decision."""
        return [tied.groups[0].name for tied in self.searched]

    @property
    def sizes(self) -> Ints:
        """Widths of the unpruned model."""
        return np.array([tied.size for tied in self.searched], dtype=np.int64)

    def everywhere(self, widths: Ints) -> Ints:
        """Return the widths of all the graph's groups, given those of the searched ones."""
        full = np.array([group.size for group in self.graph.groups], dtype=np.int64)
        for tied, width in zip(self.searched, widths, strict=True):
            full[list(tied.indices)] = tied.widths(int(width))
        return full

    def ratios(self, widths: Ints) -> Floats:
        """Return the share of each group that is kept."""
        return np.asarray(widths / self.sizes, dtype=np.float64)

    def plan(self, widths: Ints) -> Plan:
        """Return the plan that keeps the most important classes of each group, ``widths`` of them."""
        keep = np.ones(self.graph.classes, dtype=bool)
        for tied, classes, width in zip(self.searched, self.ranked, widths, strict=True):
            keep[classes[int(width) * len(classes) // tied.size :]] = False
        return Plan.of(self.graph, keep)
