"""Rewrite the operations that move channels, and prove on the labels that they still move them right."""

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.fx as fx
from torch import Tensor

from edgeprune.graph import labels as lb
from edgeprune.graph.element_check import ElementCheck, Lookup
from edgeprune.graph.flow import Flow, Remap
from edgeprune.graph.labels import matches, tensors_in
from edgeprune.graph.liveness import Liveness
from edgeprune.graph.movers import assigned_index, cat_axis, moved_arguments, run_mover, written_labels
from edgeprune.graph.ops import op_name, source_of, spec_of
from edgeprune.graph.survivors import Survivors, is_broken
from edgeprune.recording.record import VALUE
from edgeprune.rewrite.graph_editor import Editor


class Moves:
    """Movers and remaps; ``actual`` holds the labels that arrive at each node of the rewritten graph."""

    def __init__(
        self, flow: Flow, liveness: Liveness, survivors: Survivors, editor: Editor, actual: dict[fx.Node, Any]
    ) -> None:
        self.flow, self.liveness, self.survivors = flow, liveness, survivors
        self.editor, self.actual = editor, actual
        self.element_check = ElementCheck(flow, liveness, survivors)

    def move(self, node: fx.Node) -> Any:
        """Rewrite a mover; gives the labels that arrive, or raises Immovable."""
        expected = self.survivors.of(self.flow.values[node])
        if op_name(node) == "cat":
            self._drop_empty(node)
        args, kwargs = moved_arguments(node, lambda n: self.actual[n])
        if is_broken([args, kwargs]):
            return self._after_broken(node, expected)
        again = lambda lookup: self._try(node, *moved_arguments(node, lookup), lookup)  # noqa: E731
        if self._right(node, self._try(node, args, kwargs), expected, again):
            return expected
        if is_broken(expected):
            return self._after_broken(node, expected)
        for attempt in (self._resize, self._resplit, self._reindex):
            if attempt(node, args, kwargs, expected):
                return expected
        return self._regather(node, expected)

    def _right(self, node: fx.Node, arrived: Any, expected: Any, again: Callable[[Lookup], Any]) -> bool:
        """Tell whether the rewritten operation, with the labels ``arrived``, moves every element correctly.

        ``again`` runs it on other values of the nodes it reads.
        """
        return matches(arrived, expected) and (
            not self.element_check.is_needed(node, self.actual)
            or self.element_check.agree(node, again, self.actual)
        )

    def _try(self, node: fx.Node, args: Any, kwargs: Any, lookup: "Lookup | None" = None) -> Any:
        module = self.flow.layers.get(node)
        if op_name(node) == "cat" and not isinstance(source_of(node), fx.Node):
            parts = [n for n in source_of(node) if n not in self.liveness.empty]
            values = [lookup(n) if lookup else self.actual[n] for n in parts]
            args, kwargs = (values, cat_axis(node.args, node.kwargs)), {}
        try:
            return lb.run_on_labels(
                lambda *a, **k: run_mover(node, op_name(node), module, a, k), args, kwargs
            )
        except (RuntimeError, IndexError, ValueError, TypeError):
            return None

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
        again = lambda lookup: self._try(node, (lookup(source_of(node)), *arguments), kwargs)  # noqa: E731
        if not self._right(node, self._try(node, (args[0], *arguments), kwargs), expected, again):
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
        if not self._right(node, torch.split(arrived, sizes, dim), expected, again):
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
        before = _whole_index(fx.node.map_arg(node.args[1], lambda n: n.meta[VALUE]), full.dim())
        now = _whole_index(args[1], full.dim())
        written = _whole_index(self.editor.new[node].args[1], full.dim(), fx.Node)
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

    # --- assignments -----------------------------------------------------------------------------

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
        items = _whole_index(assigned_index(node), labels.dim())
        if items is None or None in items:
            raise self.survivors.refuse(labels, node)
        items = (*items, *[slice(None)] * (labels.dim() - len(items)))
        written = new.args[1] if isinstance(new.args[1], tuple) else (new.args[1],)
        written = _whole_index(written, labels.dim(), fx.Node) or items
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

    # --- gathers ---------------------------------------------------------------------------------

    def _after_broken(self, node: fx.Node, expected: Any) -> Any:
        """Inside or at the end of a chain without a grid: gather from before the chain, or go on."""
        if is_broken(expected):
            if len([n for n in node.all_input_nodes if tensors_in(n.meta[VALUE])]) != 1:
                raise self.survivors.refuse(self.flow.values[node], node)
            return expected
        return self._regather(node, expected)

    def _regather(self, node: fx.Node, expected: Any) -> Any:
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
            values[step] = self._try(step, args, kwargs)
        moved = values[chain[-1]]
        if not isinstance(moved, Tensor) or moved.dim() != len(shape) or moved.numel() == 0:
            return None
        line = moved.movedim(axis, 0).reshape(moved.shape[axis], -1)[:, 0]
        along = torch.div(line, every.stride(axis), rounding_mode="floor") % shape[axis]
        same = moved.shape == every.index_select(axis, along).shape and bool(
            (moved == every.index_select(axis, along)).all()
        )
        return along if same else None

    # --- remaps ----------------------------------------------------------------------------------

    def remap(self, node: fx.Node, remap: Remap) -> None:
        """Rewrite a pad of channels: what survives on both sides passes, the rest is zero."""
        place = {index: position for position, index in enumerate(self.survivors.order_of(remap.inputs))}
        out = self.survivors.order_of(remap.outputs)
        source = [place.get(int(remap.source[index]), -1) for index in out]
        with self.editor.before(node):
            result = self._slice_and_pad(self._source(node), remap, source, len(place))
        self.editor.replace(node, result)

    def _slice_and_pad(self, x: fx.Node, remap: Remap, source: list[int], width: int) -> fx.Node:
        """Slice and pad when what passes is contiguous, else a gather from x with one zero channel more."""
        dims = remap.node.meta[VALUE].dim()
        passing = [position for position in source if position >= 0]
        start = passing[0] if passing else 0
        low = next((i for i, s in enumerate(source) if s >= 0), len(source))
        run = list(range(start, start + len(passing)))
        high = len(source) - low - len(run)
        if run and source == [-1] * low + run + [-1] * high:
            x = self.editor.pick(x, remap.axis, torch.tensor(run), width)
            return self.editor.pad(x, {**remap.pads, remap.axis: (low, high)}, dims)
        x = self.editor.pad(x, {**remap.pads, remap.axis: (0, 1)}, dims)
        index = torch.tensor([width if s < 0 else s for s in source])
        return self.editor.pick(x, remap.axis, index, width + 1)


def _writes(target: Tensor, index: Any, value: Any, expected: Tensor) -> bool:
    """Tell whether an assignment writes the labels that it must, where it must."""
    try:
        written = written_labels(tuple(target.shape), index, value)
    except (RuntimeError, IndexError, TypeError):
        return False
    return written.shape == expected.shape and bool((written == expected).all())


def _whole_index(index: Any, dims: int, *more: type) -> tuple[Any, ...] | None:
    """An index without Ellipsis, or None where it holds tensors or lists, or others than ints and ``more``."""
    items = index if isinstance(index, tuple) else (index,)
    if any(not isinstance(i, (slice, int, *more)) and i is not None and i is not Ellipsis for i in items):
        return None
    used = sum(i is not None and i is not Ellipsis for i in items)
    if not any(i is Ellipsis for i in items):
        return items
    place = next(p for p, i in enumerate(items) if i is Ellipsis)
    return (*items[:place], *[slice(None)] * (dims - used), *items[place + 1 :])
