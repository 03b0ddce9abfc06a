"""Leave out sums with emptied branches, and the ReLUs that follow them for nothing."""

import torch.fx as fx
from torch import nn

from edgeprune.graph.ops import op_name, source_of
from edgeprune.recording.record import VALUE
from edgeprune.rewrite.context import RewriteContext


class Bypasses:
    """Lets a branch stand for its sum with an emptied one.

    Args:
        context: of the walk.
        nonnegative: nodes that are never below 0.
    """

    def __init__(self, context: RewriteContext, nonnegative: frozenset[fx.Node]) -> None:
        self.context, self.flow, self.liveness = context, context.flow, context.liveness
        self.root, self.editor, self.nonnegative = context.root, context.editor, nonnegative
        self.bypassed: set[fx.Node] = set()

    def take(self, node: fx.Node) -> bool:
        """Leave a node out where nothing changes by it; return whether it was left out."""
        return self._sum(node) or self._again(node)

    def _sum(self, node: fx.Node) -> bool:
        """Replace x + 0 by x, where 0 is left of an emptied branch."""
        if op_name(node) not in ("add", "sub") or node.kwargs or len(node.args) != 2:
            return False
        zero = [
            isinstance(n, fx.Node)
            and (self.liveness.constant.get(n, False) or (node, n) in self.context.silent)
            for n in node.args
        ]
        other = node.args[1 if zero[0] else 0]
        if not any(zero) or (op_name(node) == "sub" and zero[0]) or not isinstance(other, fx.Node):
            return False
        if self.liveness.gone(other) or other in self.flow.static or self.context.selections(node, other):
            return False
        if other.meta[VALUE].shape != node.meta[VALUE].shape:
            return False
        self.editor.replace(node, self.editor.new[other])
        self.bypassed.add(node)
        return True

    def _again(self, node: fx.Node) -> bool:
        """Leave out the ReLU of what is not negative, where the sum between two of them has gone."""
        source = source_of(node)
        if source not in self.bypassed or not _is(self.root, node, nn.ReLU, "relu"):
            return False
        if not self._not_negative(self.editor.new[source]):
            return False
        self.editor.replace(node, self.editor.new[source])
        self.bypassed.add(node)
        return True

    def _not_negative(self, new: fx.Node) -> bool:
        by_zeros = op_name(new) == "pad" and not new.kwargs.get("value") and not new.args[3:]
        picks = op_name(new) in ("getitem", "narrow", "index_select")
        if by_zeros or picks or _is(self.root, new, nn.MaxPool2d, "max_pool2d"):
            return self._not_negative(new.all_input_nodes[0])
        if any(self.editor.new[node] is new for node in self.nonnegative):
            return True
        return _is(self.root, new, nn.ReLU, "relu") or _is(self.root, new, nn.ReLU6, "relu6")


def _is(root: nn.Module, node: fx.Node, kind: type[nn.Module], name: str) -> bool:
    """Tell whether a node is a layer of a kind, or the function or method of that name."""
    if node.op == "call_module":
        return isinstance(root.get_submodule(str(node.target)), kind)
    return node.op in ("call_function", "call_method") and op_name(node).rstrip("_") == name
