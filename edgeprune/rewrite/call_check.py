"""Check single calls of the cut network against the recorded ones."""

from typing import Any

import numpy as np
import torch.fx as fx
from torch import Tensor

from edgeprune.graph import labels as lb
from edgeprune.graph.survivors import BROKEN
from edgeprune.recording.values import tensors_of
from edgeprune.rewrite.call_numbers import changed_numbers
from edgeprune.rewrite.move_check import MoveCheck
from edgeprune.rewrite.run_labels import RunLabels


class CallCheck:
    """Holds one call of a run against the recorded one: its operands, its numbers, and what it gives."""

    def __init__(self, labels: RunLabels) -> None:
        self._labels, self._flow = labels, labels.flow
        self._moves = MoveCheck(labels)
        self._consumers = {consumer.node for consumer in labels.flow.consumers}

    def check(self, node: fx.Node, op: str, args: Any, kwargs: Any, result: Any) -> None:
        """Check a call, and remember the labels of its result.

        Args:
            node: the recorded call.
            op: its canonical name (see `names.name_of`).
            args: positional arguments of the call that is made.
            kwargs: its keyword arguments.
            result: what it gives.

        Raises:
            Diverged: it is another call, or moves other channels.
        """
        if node in self._flow.weights.computing:  # a weight, element by element
            return
        # A slice assignment changes its argument and returns nothing.
        value = result if result is not None else next(iter(tensors_of(args)), None)
        if node in self._flow.movers:
            self._moves.check(node, op, args, kwargs, value)
            return
        expected = self._labels.expected(node, value)
        tensors = tensors_of((args, kwargs))
        if any(self._labels.actual.get(t) is BROKEN for t in tensors):
            self._labels.fail_at(node, f"{op} reads channels that were moved to other places")
        is_remap = node in self._moves.remaps
        if is_remap:
            self._moves.check_remap(node)
        if op == "setitem" and node not in self._flow.pointwise:
            self._moves.check_assignment(node, args)
        changed = None if is_remap else changed_numbers(node, op, args, kwargs, self._flow.values.__getitem__)
        if changed is not None:
            self._labels.fail_at(node, changed)
        if node in self._flow.pointwise:
            self._check_operands(node, tensors, expected)
        if op == "mean" and node in self._consumers:
            source = self._flow.values[node.all_input_nodes[0]]
            if tuple(source.shape) != tuple(tensors_of(args)[0].shape):
                self._labels.fail_at(node, "a mean over channels divides by their number")
        self._labels.learn(node, op, value, expected)

    def _check_operands(self, node: fx.Node, tensors: list[Tensor], expected: Any) -> None:
        if not isinstance(expected, Tensor):
            return
        for tensor in tensors:
            labels = self._labels.actual.get(tensor)
            meets = (
                not isinstance(labels, Tensor)
                or labels.dim() > expected.dim()
                or self._meets(labels, expected)
            )
            if not meets:
                self._labels.fail_at(node, "operands of different channels meet")

    def _meets(self, labels: Tensor, expected: Tensor) -> bool:
        if labels is expected:
            return True
        a, b, class_of = lb.core(labels).numpy(), lb.core(expected).numpy(), self._labels.graph.class_of
        try:
            equal = np.equal(a, b)
        except ValueError:
            return False
        return bool(equal.all() or (equal | (a == 0) | (b == 0) | (class_of[a] == class_of[b])).all())
