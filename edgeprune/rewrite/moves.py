"""Rewrite the operations that move channels, and prove on the labels that they still move them right."""

import operator
from typing import Any

import torch
import torch.fx as fx
from torch import Tensor

from edgeprune.graph.labels import matches
from edgeprune.graph.movers import cat_axis, moved_arguments
from edgeprune.graph.ops import op_name, source_of, spec_of
from edgeprune.graph.survivors import is_broken
from edgeprune.recording.record import VALUE
from edgeprune.rewrite.context import RewriteContext
from edgeprune.rewrite.gathers import Gathers
from edgeprune.rewrite.indices import full_index
from edgeprune.rewrite.mover_check import MoverCheck


class Moves:
    """Rewrites movers: as they are, with other literal sizes, as other splits or slices, else as a gather."""

    def __init__(self, context: RewriteContext) -> None:
        self.flow, self.liveness, self.survivors = context.flow, context.liveness, context.survivors
        self.editor, self.actual = context.editor, context.actual
        self.check = MoverCheck(context)
        self.gathers = Gathers(context, self.check)

    def move(self, node: fx.Node) -> Any:
        """Rewrite a mover; gives the labels that arrive, or raises Immovable."""
        expected = self.survivors.of(self.flow.values[node])
        if op_name(node) == "cat":
            self._drop_empty(node)
        args, kwargs = moved_arguments(node, lambda n: self.actual[n])
        if is_broken([args, kwargs]):
            return self.gathers.after_broken(node, expected)
        again = lambda lookup: self.check.run(node, *moved_arguments(node, lookup), lookup)  # noqa: E731
        if self.check.is_right(node, self.check.run(node, args, kwargs), expected, again):
            return expected
        if is_broken(expected):
            return self.gathers.after_broken(node, expected)
        for attempt in (self._resize, self._resplit, self._reindex):
            if attempt(node, args, kwargs, expected):
                return expected
        return self.gathers.regather(node, expected)

    def _drop_empty(self, node: fx.Node) -> None:
        """Leave empty parts out of a concatenation."""
        parts = source_of(node)
        if isinstance(parts, fx.Node):  # all parts of one split
            return
        rest = [self.editor.new[n] for n in parts if n not in self.liveness.empty]
        if len(rest) == len(parts):
            return
        new = self.editor.new[node]
        new.args, new.kwargs = (rest, cat_axis(node.args, node.kwargs)), {}

    # --- literal sizes ---------------------------------------------------------------------------

    def _resize(self, node: fx.Node, args: Any, kwargs: Any, expected: Any) -> bool:
        """Literal sizes of view, reshape, expand and unflatten."""
        where = spec_of(node).sizes_from
        if where is None or not isinstance(expected, Tensor) or len(args) <= where:
            return False
        offset = int(args[1]) % args[0].dim() if op_name(node) == "unflatten" else 0
        new = self.editor.new[node]
        listed = isinstance(args[where], (tuple, list))
        values = list(args[where] if listed else args[where:])
        sizes: list[Any] = list(self._single_sizes(node, where, len(values)) if listed else new.args[where:])
        if len(sizes) != len(values):
            return False
        for place, value in enumerate(values):
            target = expected.shape[place + offset]
            if value not in (-1, target):
                sizes[place] = values[place] = target
        rest = (tuple(values),) if listed else tuple(values)
        arguments = (*args[1:where], *rest)
        again = lambda lookup: self.check.run(node, (lookup(source_of(node)), *arguments), kwargs)  # noqa: E731
        if not self.check.is_right(
            node, self.check.run(node, (args[0], *arguments), kwargs), expected, again
        ):
            return False
        new.args = (*new.args[:where], *((tuple(sizes),) if listed else tuple(sizes)))
        return True

    def _resplit(self, node: fx.Node, args: Any, kwargs: Any, expected: Any) -> bool:
        """Rewrite split and chunk as a split into the surviving sizes."""
        if not spec_of(node).splits:
            return False
        dim = int(args[2] if len(args) > 2 else kwargs.get("dim", 0))
        sizes = [int(part.shape[dim]) for part in expected]
        again = lambda lookup: torch.split(lookup(source_of(node)), sizes, dim)  # noqa: E731
        arrived = self.actual[source_of(node)]
        if sum(sizes) != arrived.shape[dim]:
            return False
        if not self.check.is_right(node, torch.split(arrived, sizes, dim), expected, again):
            return False
        with self.editor.before(node):
            replacement = self.editor.call(torch.split, self._source(node), sizes, dim)
        self.editor.replace(node, replacement)
        return True

    def _source(self, node: fx.Node) -> fx.Node:
        return self.editor.new[source_of(node)]

    def _single_sizes(self, node: fx.Node, where: int, count: int) -> Any:
        """Return the sizes of an argument that may be a complete `x.shape`."""
        argument: Any = self.editor.new[node].args[where]
        if not isinstance(argument, fx.Node):
            return argument
        with self.editor.before(node):
            return [self.editor.call(operator.getitem, argument, place) for place in range(count)]

    # --- slices ----------------------------------------------------------------------------------

    def _reindex(self, node: fx.Node, args: Any, _: Any, expected: Any) -> bool:
        """x[:, a:b]: the other axes as they were, the channel axis by position."""
        if op_name(node) != "getitem" or not isinstance(args[0], Tensor) or not isinstance(expected, Tensor):
            return False
        full = self.flow.values[source_of(node)]
        # Bounds that follow from sizes are others now: channels are picked by what they were, the rest stays written.
        before = full_index(fx.node.map_arg(node.args[1], lambda n: n.meta[VALUE]), full.dim())
        now = full_index(args[1], full.dim())
        written = full_index(self.editor.new[node].args[1], full.dim(), fx.Node)
        if before is None or now is None or written is None:
            return False
        axis = -1
        for place, item in enumerate(before):
            axis += item is not None
            if isinstance(item, slice) and item != slice(None) and args[0].shape[axis] != full.shape[axis]:
                rest, kept = [(*index[:place], slice(None), *index[place + 1 :]) for index in (now, written)]
                return self._slice_axis(node, item, axis, (rest, kept), expected)
        return False

    def _slice_axis(
        self, node: fx.Node, item: slice, axis: int, rest: tuple[Any, Any], expected: Tensor
    ) -> bool:
        """``rest`` is the index of the other axes: its values, and as it is written."""
        source = source_of(node)
        full, arrived = self.flow.values[source], self.actual[source]
        before = self.survivors.index(full)
        if before is None:
            return False
        chosen = set(range(full.shape[axis])[item])
        positions = torch.tensor(
            [p for p, i in enumerate(before[axis].tolist()) if i in chosen], dtype=torch.long
        )
        values, written = rest
        if not matches(arrived.index_select(axis, positions)[values], expected):
            return False
        with self.editor.before(node):
            result = self.editor.pick(self._source(node), axis, positions, arrived.shape[axis])
            if any(other != slice(None) for other in written):
                result = self.editor.call(operator.getitem, result, written)
        self.editor.replace(node, result)
        return True
