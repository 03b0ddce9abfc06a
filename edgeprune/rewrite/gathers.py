"""Gather channels from before a chain of movers that cannot move what is left of them."""

from typing import Any

import torch
import torch.fx as fx
from torch import Tensor

from edgeprune.graph import labels as lb
from edgeprune.graph.labels import matches, tensors_in
from edgeprune.graph.movers import moved_arguments
from edgeprune.graph.ops import source_of
from edgeprune.graph.survivors import is_broken
from edgeprune.recording.record import VALUE
from edgeprune.rewrite.context import RewriteContext
from edgeprune.rewrite.mover_check import MoverCheck


class Gathers:
    """Replaces chains of movers by one index-select."""

    def __init__(self, context: RewriteContext, check: MoverCheck) -> None:
        self.flow, self.survivors = context.flow, context.survivors
        self.editor, self.actual, self.check = context.editor, context.actual, check

    def after_broken(self, node: fx.Node, expected: Any) -> Any:
        """Inside or at the end of a chain without a grid: gather from before the chain, or go on."""
        if is_broken(expected):
            if len([n for n in node.all_input_nodes if tensors_in(n.meta[VALUE])]) != 1:
                raise self.survivors.refuse(self.flow.values[node], node)
            return expected
        return self.regather(node, expected)

    def regather(self, node: fx.Node, expected: Any) -> Any:
        """Replace a chain of movers by one index-select from the last tensor that has a grid."""
        chain, origin = self._chain(node)
        labels = self.flow.values[origin]
        selection = self._positions(chain, origin, labels, node)
        if selection is None:
            raise self.survivors.refuse([labels, self.flow.values[node]], node)
        axis, positions = selection
        arrived = self.actual[origin]
        if not matches(arrived.index_select(axis, positions), expected):
            raise self.survivors.refuse([labels, self.flow.values[node]], node)
        with self.editor.before(node):
            gathered = self.editor.pick(self.editor.new[origin], axis, positions, arrived.shape[axis])
        self.editor.replace(node, gathered)
        return expected

    def _chain(self, node: fx.Node) -> tuple[list[fx.Node], fx.Node]:
        """Return the movers from the last tensor with a grid down to ``node``."""
        chain = [node]
        while True:
            source = source_of(chain[0])
            if not isinstance(source, fx.Node):
                raise self.survivors.refuse(self.flow.values[chain[0]], node)
            if not is_broken(self.actual[source]):
                return chain, source
            chain.insert(0, source)

    def _positions(
        self, chain: list[fx.Node], origin: fx.Node, labels: Any, node: fx.Node
    ) -> tuple[int, Tensor] | None:
        """Return (axis, positions in the surviving origin) that select the surviving result, if one axis suffices."""
        result = self.flow.values[node]
        if not isinstance(labels, Tensor) or not isinstance(result, Tensor) or result.dim() != labels.dim():
            return None
        wide, before, after = lb.wide_axes(labels), self.survivors.index(labels), self.survivors.index(result)
        if len(wide) != 1 or before is None or after is None:
            return None
        axis = wide[0]
        along = self._taken(chain, origin, axis)
        if along is None:
            return None
        place = {int(i): p for p, i in enumerate(before[axis].tolist())}
        selected = [place.get(int(along[i]), -1) for i in after[axis].tolist()]
        return None if -1 in selected else (axis, torch.tensor(selected, dtype=torch.long))

    def _taken(self, chain: list[fx.Node], origin: fx.Node, axis: int) -> Tensor | None:
        """Return the indices i for which the chain equals index_select(axis, i), element by element; else None."""
        shape = tuple(self.flow.values[origin].shape)
        every = torch.arange(torch.Size(shape).numel()).view(shape)
        values: dict[fx.Node, Any] = {origin: every}
        for step in chain:
            args, kwargs = moved_arguments(step, lambda n: values.get(n, n.meta[VALUE]))
            values[step] = self.check.run(step, args, kwargs)
        moved = values[chain[-1]]
        if not isinstance(moved, Tensor) or moved.dim() != len(shape) or moved.numel() == 0:
            return None
        line = moved.movedim(axis, 0).reshape(moved.shape[axis], -1)[:, 0]
        along = torch.div(line, every.stride(axis), rounding_mode="floor") % shape[axis]
        same = moved.shape == every.index_select(axis, along).shape and bool(
            (moved == every.index_select(axis, along)).all()
        )
        return along if same else None
