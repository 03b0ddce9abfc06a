"""What the parts of a rewriter share: the original graph, its copy, and the labels that arrive in the copy."""

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.fx as fx
from torch import Tensor, nn

from edgeprune.graph.classes import Graph
from edgeprune.graph.flow import Flow
from edgeprune.graph.liveness import Liveness
from edgeprune.graph.survivors import Survivors
from edgeprune.rewrite.graph_editor import Editor


@dataclass(frozen=True)
class RewriteContext:
    """One walk over a graph.

    Attributes:
        graph: the original.
        root: has a copy of its layers, with their tensors already cut.
        liveness: which nodes still work, and which are constant.
        survivors: which labels survive, and in which order.
        editor: of the copied graph.
        silent: (sum, operand) of each emptied branch that is left out of the sum.
        actual: the labels that arrive at each node of the rewritten graph; the walk fills it.
    """

    graph: Graph
    root: nn.Module
    liveness: Liveness
    survivors: Survivors
    editor: Editor
    silent: frozenset[tuple[fx.Node, fx.Node]] = frozenset()
    actual: dict[fx.Node, Any] = field(default_factory=dict)

    @property
    def flow(self) -> Flow:
        """The labels of the original graph."""
        return self.graph.flow

    def selections(self, node: fx.Node, operand: fx.Node) -> list[tuple[int, Tensor, int]]:
        """Return the (axis, positions, width) to select so that an operand matches the others element by element.

        Raises:
            Immovable: an operand lacks what the others have.
        """
        labels, value = self.flow.values[node], self.flow.values[operand]
        target_index, operand_index = self.survivors.index(labels), self.survivors.index(value)
        if target_index is None or operand_index is None:
            raise self.survivors.refuse([labels, value], node)
        selections, lead = [], labels.dim() - value.dim()
        for axis, size in enumerate(value.shape):
            if size == 1 and labels.shape[axis + lead] != 1:
                continue
            target, current = target_index[axis + lead].tolist(), operand_index[axis].tolist()
            if target != current:
                place = {index: position for position, index in enumerate(current)}
                if any(index not in place for index in target):
                    raise self.survivors.refuse([labels, value], node)
                selections.append(
                    (axis, torch.tensor([place[i] for i in target], dtype=torch.long), len(current))
                )
        return selections
