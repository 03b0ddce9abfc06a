"""Rewrite numbers of groups and of channels that no tensor tells."""

import copy
from typing import Any

import torch
import torch.fx as fx
from torch import Tensor, nn

from edgeprune.graph.nodes import weight_node
from edgeprune.graph.ops import op_name, source_of
from edgeprune.recording.record import VALUE
from edgeprune.rewrite.context import RewriteContext
from edgeprune.rewrite.graph_editor import set_argument


class GroupCounts:
    """Numbers of groups, in the graph or in a layer that has no vectors to tell them by."""

    def __init__(self, context: RewriteContext) -> None:
        self.graph, self.flow, self.root = context.graph, context.flow, context.root
        self.editor, self.actual = context.editor, context.actual

    def rewrite(self, node: fx.Node) -> None:
        """Rewrite the number of groups of a call, or of the layer that it calls."""
        source = source_of(node)
        if not isinstance(source, fx.Node) or not isinstance(self.actual.get(source), Tensor):
            return
        before, after = self.flow.values[source].shape, self.actual[source].shape
        if op_name(node).startswith("conv"):
            axis = len(before) - (weight_node(node).meta[VALUE].dim() - 1)
            groups = self._argument(node, 6, "groups", 1)
            if groups == before[axis] and groups > 1:
                set_argument(self.editor.new[node], 6, "groups", int(after[axis]))
        elif op_name(node) == "group_norm":
            size = before[1] // self._argument(node, 1, "num_groups", 1)
            set_argument(self.editor.new[node], 1, "num_groups", int(after[1]) // size)
        elif node.op == "call_module" and before != after:
            self._resize_norm(node, before, after)

    def _argument(self, node: fx.Node, place: int, name: str, default: Any) -> Any:
        argument = node.args[place] if len(node.args) > place else node.kwargs.get(name, default)
        return argument.meta[VALUE] if isinstance(argument, fx.Node) else argument

    def _resize_norm(self, node: fx.Node, before: torch.Size, after: torch.Size) -> None:
        """Resize a GroupNorm or InstanceNorm without vectors: a copy of it where it is used on other channels too."""
        layer: Any = self.flow.layers[node]
        if not isinstance(layer, (nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)):
            return
        own = copy.copy(self.root.get_submodule(str(node.target)))
        if isinstance(layer, nn.GroupNorm):
            own.num_groups = after[1] * layer.num_groups // before[1]  # type: ignore[assignment]
            own.num_channels = after[1]  # type: ignore[assignment]
        else:
            own.num_features = after[-int(type(layer).__name__[-2]) - 1]  # type: ignore[assignment]
        users = [
            n for n in self.graph.module.graph.nodes if n.op == "call_module" and n.target == node.target
        ]
        name = (
            str(node.target)
            if len(users) == 1 or list(layer.parameters())
            else f"{node.target}_{users.index(node)}"
        )
        path, _, leaf = name.rpartition(".")
        self.root.get_submodule(path).add_module(leaf, own)
        self.editor.new[node].target = name
