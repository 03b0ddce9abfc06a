"""What is searched: how many classes of each group of coupled channels stay."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeprune.budget import floors_of
from edgeprune.graph.classes import Graph, Ints
from edgeprune.plan import Plan

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Variables:
    """The groups that may lose channels, in the network's order, and their channels by importance.

    Attributes:
        graph: of the unpruned model.
        groups: indices of the searched groups; the others stay whole.
        ranked: the classes of each, the most important first.
        importance: of these, shape (size,) each.
        lowest: the least width of each.
        steps: widths are multiples of this, or whole.
    """

    graph: Graph
    groups: tuple[int, ...]
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
        ordered = sorted(graph.groups, key=lambda group: int(group.classes[0]))
        floors = floors_of(graph, floor)
        chosen = []
        for group in ordered:
            step = max(1, min(int(all_steps[group.index]), group.size))
            least = max(int(floors[group.index]), math.ceil(share * group.size - 1e-9))
            least = min(group.size, step * math.ceil(least / step))
            if least < group.size:
                chosen.append((group, least, step))
        ranked = [group.classes[np.argsort(-scores[group.classes], kind="stable")] for group, _, _ in chosen]
        return cls(
            graph,
            tuple(group.index for group, _, _ in chosen),
            tuple(ranked),
            tuple(scores[classes] for classes in ranked),
            np.array([least for _, least, _ in chosen], dtype=np.int64),
            np.array([step for _, _, step in chosen], dtype=np.int64),
        )

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def names(self) -> list[str]:
        """Of the groups."""
        return [self.graph.groups[index].name for index in self.groups]

    @property
    def sizes(self) -> Ints:
        """Widths of the unpruned model."""
        return np.array([len(classes) for classes in self.ranked], dtype=np.int64)

    def everywhere(self, widths: Ints) -> Ints:
        """Widths of all the graph's groups, when the searched ones have these."""
        full = np.array([group.size for group in self.graph.groups], dtype=np.int64)
        full[list(self.groups)] = widths
        return full

    def ratios(self, widths: Ints) -> Floats:
        """Share of each group that stays."""
        return np.asarray(widths / self.sizes, dtype=np.float64)

    def plan(self, widths: Ints) -> Plan:
        """The most important classes of each group, so many as ``widths`` says."""
        keep = np.ones(self.graph.classes, dtype=bool)
        for classes, width in zip(self.ranked, widths, strict=True):
            keep[classes[int(width) :]] = False
        return Plan.of(self.graph, keep)
