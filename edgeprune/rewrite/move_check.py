"""Check calls of the cut network that move elements: labels are moved as it moves its channels, and compared."""

from collections.abc import Callable
from typing import Any

import torch.fx as fx
from torch import Tensor

from edgeprune.graph import labels as lb
from edgeprune.graph.element_check import ElementCheck
from edgeprune.graph.liveness import Liveness
from edgeprune.graph.movers import (
    assigned_index,
    index_nodes,
    index_nodes_of_assignment,
    run_mover,
    written_labels,
)
from edgeprune.graph.survivors import BROKEN
from edgeprune.recording.lines import first_line
from edgeprune.recording.values import tensors_of
from edgeprune.rewrite.run_labels import RunLabels
from edgeprune.rewrite.structures import fx_nodes, unpacked


class MoveCheck:
    """Holds what a call moves against the labels that survive, element by element where labels repeat."""

    def __init__(self, labels: RunLabels) -> None:
        self._labels, self._flow, self._survivors = labels, labels.flow, labels.survivors
        self.remaps = {remap.node: remap for remap in labels.flow.remaps}

    def check(self, node: fx.Node, op: str, args: Any, kwargs: Any, value: Any) -> None:
        """Move the labels as the cut network moves its channels.

        Args:
            node: the recorded call.
            op: its canonical name (see `names.name_of`).
            args: positional arguments of the call that is made.
            kwargs: its keyword arguments.
            value: its result.

        Raises:
            Diverged: it moves them to other places.
        """
        expected = self._labels.expected(node, value)
        static = {id(t) for t in _indices(node, args, kwargs)}

        def labels_of(item: Any) -> Any:
            if not isinstance(item, Tensor):
                return item
            if id(item) in static:
                return item.cpu()
            known = self._labels.actual.get(item)
            if known is None:
                known = self._parameter_labels(node, item)
            return known

        moved = fx.node.map_aggregate((tuple(args), dict(kwargs)), labels_of)
        if any(
            leaf is BROKEN or leaf is None and had is not None for leaf, had in _pairs(moved, (args, kwargs))
        ):
            self._labels.fail_at(node, f"{op} moves channels of unknown places")
        try:
            result = lb.run_on_labels(lambda *a, **k: run_mover(node, op, None, a, k), *moved)
        except Exception as error:
            self._labels.fail_at(node, f"{op} cannot move them ({first_line(error)})", error)
        self._compare(node, op, value, result, expected)
        self._check_elements(node, op, args, kwargs, labels_of)

    def _check_elements(
        self, node: fx.Node, op: str, args: Any, kwargs: Any, labels_of: Callable[[Any], Any]
    ) -> None:
        """Check the place of each element, where labels repeat and do not show the order."""
        pairs = list(zip(tensors_of((args, kwargs)), fx_nodes((node.args, node.kwargs)), strict=False))
        sources = {n: labels_of(tensor) for tensor, n in pairs}
        element_check = ElementCheck(self._flow, Liveness(), self._survivors)
        if not element_check.is_needed(node, sources):
            return
        nodes = {id(tensor): n for tensor, n in pairs}

        def again(lookup: Callable[[fx.Node], Any]) -> Any:
            def value_of(item: Any) -> Any:
                return lookup(nodes[id(item)]) if isinstance(item, Tensor) else item

            moved = fx.node.map_aggregate((tuple(args), dict(kwargs)), value_of)
            return lb.run_on_labels(lambda *a, **k: run_mover(node, op, None, a, k), *moved)

        grids = [
            self._survivors.index(self._flow.values[n])
            for n in sources
            if isinstance(self._flow.values[n], Tensor)
        ]
        if any(grid is None for grid in grids) or not element_check.agree(node, again, sources):
            self._labels.fail_at(node, f"{op} would move other channels")

    def _compare(self, node: fx.Node, op: str, value: Any, result: Any, expected: Any) -> None:
        if isinstance(value, (tuple, list)):
            same = isinstance(result, (tuple, list)) and len(result) == len(value)
            if not same or not isinstance(expected, (tuple, list)) or len(expected) != len(value):
                self._labels.fail_at(node, f"{op} gives another number of parts")
            for item, part, labels in zip(value, result, expected, strict=True):
                self._compare(node, op, item, part, self._labels.sized(node, item, labels))
            return
        if not isinstance(value, Tensor):
            return
        if tuple(value.shape) != tuple(result.shape):
            self._labels.fail_at(node, f"{op} gives the shape {tuple(value.shape)}")
        # Where the survivors form no grid the value only exists inside a chain of movers: its end is compared.
        if expected is not BROKEN and not lb.matches(result, expected):
            self._labels.fail_at(node, f"{op} would move other channels")
        self._labels.actual[value] = result

    def _parameter_labels(self, node: fx.Node, tensor: Tensor) -> Any:
        """Return the labels of a parameter or constant that enters at this call."""
        for source in node.all_input_nodes:
            labels = self._flow.values.get(source)
            if source.op == "get_attr" and isinstance(labels, Tensor):
                kept = self._survivors.of(labels)
                if isinstance(kept, Tensor) and tuple(kept.shape) == tuple(tensor.shape):
                    return kept
        return lb.constants_like(tensor)

    def check_assignment(self, node: fx.Node, args: Any) -> None:
        """Check that an assignment writes what survives of the original's, and nothing else.

        Args:
            node: the recorded call.
            args: positional arguments of the call that is made: the tensor, the index, the value.

        Raises:
            Diverged: it writes into other channels.
        """
        target, _, value = node.args
        labels = self._flow.values[node]
        index = self._survivors.index(labels)
        actual = self._labels.actual.get(args[0])
        if index is None or not isinstance(actual, Tensor):
            self._labels.fail_at(node, "channels of unknown places are written into")
        source = self._flow.values[value] if isinstance(value, fx.Node) else None
        by_content = any(n not in self._flow.static for n in index_nodes_of_assignment(node))
        if by_content and not any(bool(lb.core(t).any()) for t in lb.tensors_in([labels, source])):
            return  # boxes that are kept, say: no channel is written into, and rounding may choose others
        moved = (
            self._labels.actual.get(args[2], lb.constants_like(args[2]))
            if isinstance(args[2], Tensor)
            else None
        )
        try:
            surviving = written_labels(tuple(labels.shape), assigned_index(node), source)
            for axis, positions in enumerate(index):
                if len(positions) != surviving.shape[axis]:
                    surviving = surviving.index_select(axis, positions)
            written = written_labels(tuple(actual.shape), fx.node.map_aggregate(args[1], _on_cpu), moved)
        except Exception as error:
            self._labels.fail_at(node, f"an assignment cannot be followed ({first_line(error)})", error)
        if written.shape != surviving.shape or not bool((written == surviving).all()):
            self._labels.fail_at(node, "an assignment would write into other channels")

    def check_remap(self, node: fx.Node) -> None:
        """Check that a zero pad of channels, which is one of ``remaps``, has the numbers that the cut network needs.

        Raises:
            Diverged: it pads to other widths.
        """
        remap = self.remaps[node]
        before, after = self._survivors.order_of(remap.inputs), self._survivors.order_of(remap.outputs)
        if len(before) == len(remap.inputs) and after == list(range(len(remap.outputs))):
            return
        place = {index: position for position, index in enumerate(before)}
        source = [place.get(int(remap.source[i]), -1) for i in after]
        low = int((remap.source >= 0).nonzero()[0, 0]) if bool((remap.source >= 0).any()) else 0
        high = len(remap.outputs) - low - len(remap.inputs)
        if source != [-1] * low + list(range(len(before))) + [-1] * high:
            self._labels.fail_at(node, "zero channels are padded by a number in the code")


def _indices(node: fx.Node, args: Any, kwargs: Any) -> list[Tensor]:
    """Return the tensors that a call uses as indices."""
    numbers = fx_nodes((node.args, node.kwargs))
    tensors = tensors_of((args, kwargs))
    indices = index_nodes(node)
    return [t for t, n in zip(tensors, numbers, strict=False) if n in indices]


def _on_cpu(value: Any) -> Any:
    return value.cpu() if isinstance(value, Tensor) else value


def _pairs(moved: Any, originals: Any) -> list[tuple[Any, Any]]:
    return list(zip(lb.flat(unpacked(moved)), lb.flat(unpacked(originals)), strict=True))
