"""Rewrite assignments, y[index] = z, for the channels that stay."""

from typing import Any

import torch
import torch.fx as fx
from torch import Tensor

from edgeprune.graph.movers import assigned_index, written_labels
from edgeprune.graph.survivors import is_broken
from edgeprune.rewrite.context import RewriteContext
from edgeprune.rewrite.indices import full_index


class Assignments:
    """Indexes by the kept positions what is written into."""

    def __init__(self, context: RewriteContext) -> None:
        self.flow, self.liveness, self.survivors = context.flow, context.liveness, context.survivors
        self.editor, self.actual = context.editor, context.actual

    def assign(self, node: fx.Node) -> Any:
        """Rewrite y[index] = z: index by the kept positions, in the one axis along which it must change."""
        labels, target, index, value = self.flow.values[node], node.all_input_nodes[0], *node.args[1:]
        if isinstance(value, fx.Node) and value in self.liveness.empty:  # nothing of it stays to be written
            self.editor.replace(node, self.editor.new[target])
            return self.actual[target]
        positions = self.survivors.index(labels)
        if positions is None or is_broken([self.actual[n] for n in node.all_input_nodes]):
            raise self.survivors.refuse([labels, *(self.flow.values[n] for n in node.all_input_nodes)], node)
        source = self.flow.values[value] if isinstance(value, fx.Node) else None
        surviving = written_labels(tuple(labels.shape), assigned_index(node), source)
        for axis, kept in enumerate(positions):
            surviving = (
                surviving if len(kept) == surviving.shape[axis] else surviving.index_select(axis, kept)
            )
        arrived = self.actual[value] if isinstance(value, fx.Node) else None
        now = fx.node.map_arg(index, lambda n: self.actual[n])
        if not _writes(self.actual[target], now, arrived, surviving):
            self._reassign(node, positions, arrived, surviving)
        return self.survivors.of(labels)

    def _reassign(self, node: fx.Node, kept: list[Tensor], arrived: Any, surviving: Tensor) -> None:
        labels, new = self.flow.values[node], self.editor.new[node]
        items = full_index(assigned_index(node), labels.dim())
        if items is None or None in items:
            raise self.survivors.refuse(labels, node)
        items = (*items, *[slice(None)] * (labels.dim() - len(items)))
        written = new.args[1] if isinstance(new.args[1], tuple) else (new.args[1],)
        written = full_index(written, labels.dim(), fx.Node) or items
        literal, changed = list(items), [*written, *items[len(written) :]]
        for axis, item in enumerate(items):
            if len(kept[axis]) == labels.shape[axis] or not isinstance(item, (slice, int)):
                continue
            order = {int(i): place for place, i in enumerate(kept[axis])}
            if isinstance(item, int):
                if item % labels.shape[axis] not in order:
                    raise self.survivors.refuse(labels, node)
                literal[axis] = changed[axis] = order[item % labels.shape[axis]]
                continue
            places = [order[i] for i in range(labels.shape[axis])[item] if i in order]
            run = list(range(places[0], places[0] + len(places))) if places else []
            if places == run:
                start = places[0] if places else 0
                literal[axis] = changed[axis] = slice(start, start + len(places))
            else:
                literal[axis] = torch.tensor(places)
                with self.editor.before(node):
                    changed[axis] = self.editor.buffer("edgeprune_index", literal[axis])
        if not _writes(self.actual[node.args[0]], tuple(literal), arrived, surviving):  # type: ignore[index]
            raise self.survivors.refuse(labels, node)
        new.args = (new.args[0], tuple(changed), new.args[2])


def _writes(target: Tensor, index: Any, value: Any, expected: Tensor) -> bool:
    """Tell whether an assignment writes the labels that it must, where it must."""
    try:
        written = written_labels(tuple(target.shape), index, value)
    except (RuntimeError, IndexError, TypeError):
        return False
    return written.shape == expected.shape and bool((written == expected).all())
