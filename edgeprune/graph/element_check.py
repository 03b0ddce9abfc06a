"""Prove movement element by element, where labels cannot tell elements apart.

A pixel-unshuffle, or a view that takes pixels into the channel axis, gives several channels one label: all of
them go or stay. What moves those channels afterwards looks right on the labels even when it puts them in
another order, so such a step is checked on numbers that name each element of its input.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.fx as fx
from torch import Tensor

from edgeprune.graph import labels as lb
from edgeprune.graph.flow import Flow
from edgeprune.graph.labels import tensors_in
from edgeprune.graph.liveness import Liveness
from edgeprune.graph.movers import moved_arguments, run_mover
from edgeprune.graph.ops import op_name
from edgeprune.graph.survivors import Survivors
from edgeprune.recording.record import VALUE

Lookup = Callable[[fx.Node], Any]


class ElementCheck:
    """Compares a mover on the surviving elements with what survives of the mover on all of them."""

    def __init__(self, flow: Flow, liveness: Liveness, survivors: Survivors) -> None:
        self.flow, self.liveness, self.survivors = flow, liveness, survivors

    def is_needed(self, node: fx.Node, actual: dict[fx.Node, Any]) -> bool:
        """Tell whether labels repeat in what ``node`` moves while some of it is pruned."""
        inputs = [n for n in node.all_input_nodes if tensors_in(self.flow.values[n])]
        unchanged = all(
            _shapes(actual[n]) == _shapes(self.flow.values[n]) for n in inputs if n not in self.liveness.empty
        )
        if unchanged and not self.survivors.orders and not any(n in self.liveness.empty for n in inputs):
            return False
        values = [self.flow.values[node], *(self.flow.values[n] for n in inputs)]
        return any(_repeats(leaf) for value in values for leaf in tensors_in(value))

    def agree(self, node: fx.Node, again: Callable[[Lookup], Any], actual: dict[fx.Node, Any]) -> bool:
        """Tell whether the rewritten operation returns what survives of the original's result, in order.

        Args:
            node: the original operation.
            again: runs the rewritten operation; gets the value of each node from its argument.
            actual: labels that arrive at the rewritten operation, by node.
        """
        numbers: dict[fx.Node, Any] = {}
        count = 0
        for source in node.all_input_nodes:
            if not tensors_in(self.flow.values[source]):
                continue
            leaves = []
            for labels in lb.flat(self.flow.values[source]):
                leaves.append(torch.arange(count, count + labels.numel()).view(labels.shape))
                count += labels.numel()
            numbers[source] = leaves[0] if isinstance(self.flow.values[source], Tensor) else tuple(leaves)
        expected = self._restricted(self._original(node, numbers), self.flow.values[node])
        kept = {n: self._restricted(value, self.flow.values[n]) for n, value in numbers.items()}
        moved = again(lambda n: kept[n] if n in kept else actual[n])
        return expected is not None and _equal(moved, expected)

    def _original(self, node: fx.Node, numbers: dict[fx.Node, Any]) -> Any:
        args, kwargs = moved_arguments(node, lambda n: numbers.get(n, n.meta[VALUE]))
        module = self.flow.layers.get(node)
        return lb.run_on_labels(lambda *a, **k: run_mover(node, op_name(node), module, a, k), args, kwargs)

    def _restricted(self, numbers: Any, labels: Any) -> Any:
        """Return what survives of each tensor of numbers; None if the survivors do not form a grid."""
        if not isinstance(labels, Tensor):
            parts = [self._restricted(n, v) for n, v in zip(numbers, labels, strict=True)]
            return None if any(p is None for p in parts) else tuple(parts)
        index = self.survivors.index(labels)
        if index is None:
            return None
        for axis, chosen in enumerate(index):
            if len(chosen) != numbers.shape[axis] or not bool((chosen == torch.arange(len(chosen))).all()):
                numbers = numbers.index_select(axis, chosen)
        return numbers


def _shapes(value: Any) -> list[torch.Size]:
    return [leaf.shape for leaf in tensors_in(value)]


def _repeats(labels: Tensor) -> bool:
    """Tell whether a label stands at more than one place of what varies, and some label is no constant's."""
    small = lb.core(labels)
    return small.numel() > 1 and bool(small.any()) and len(small.unique()) < small.numel()


def _equal(moved: Any, expected: Any) -> bool:
    if isinstance(expected, tuple):
        same = isinstance(moved, (tuple, list)) and len(moved) == len(expected)
        return same and all(_equal(f, w) for f, w in zip(moved, expected, strict=True))
    return isinstance(moved, Tensor) and moved.shape == expected.shape and bool((moved == expected).all())
