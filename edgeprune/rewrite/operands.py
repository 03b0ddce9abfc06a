"""Rewrite the operands of pointwise operations: cut to the result's channels, or a constant in place of a branch."""

import torch
import torch.fx as fx
from torch import Tensor

from edgeprune.rewrite.constants import Constants, out_of_place
from edgeprune.rewrite.context import RewriteContext


class Operands:
    """Cuts the operands that are wider than the result, and reads folded constants as parameters."""

    def __init__(self, context: RewriteContext) -> None:
        self.context, self.flow, self.liveness = context, context.flow, context.liveness
        self.editor, self.constants = context.editor, Constants(context)

    def rewrite(self, node: fx.Node) -> None:
        """Rewrite the operands of a node."""
        new = self.editor.new[node]
        for operand in list(node.all_input_nodes):
            if not isinstance(self.flow.values[operand], Tensor):
                continue
            with self.editor.before(node):
                stand_in = self._stand_in(node, operand)
            if stand_in is not self.editor.new[operand]:
                new.replace_input_with(self.editor.new[operand], stand_in)
                self._write_elsewhere(new)

    def _stand_in(self, node: fx.Node, operand: fx.Node) -> fx.Node:
        if (node, operand) in self.context.silent:
            return self.editor.buffer("edgeprune_zero", torch.zeros_like(self.constants.value(operand)))
        if operand in self.liveness.constant:
            return self.constants.node(operand)
        selected = self.editor.new[operand]
        for axis, positions, width in self.context.selections(node, operand):
            selected = self.editor.pick(selected, axis, positions, width)
        return selected

    def _write_elsewhere(self, new: fx.Node) -> None:
        """Replace an in-place operation that would write into a parameter or a part of another tensor."""
        if new.op == "call_method":
            new.target = str(new.target).rstrip("_")
        elif new.op == "call_function":
            new.target = out_of_place(new.target)
