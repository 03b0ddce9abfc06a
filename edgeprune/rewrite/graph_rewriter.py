"""Rewrite a traced graph for the channels that stay, and prove the movement on the labels.

The graph is walked once more with labels, now only the surviving ones. At every tensor the rewritten
operation must give exactly the surviving labels of the original, in order. Where a rewritten constant
(a view size, a split, a pad) cannot give that, an index-select is put in; where that cannot be either,
`Immovable` names the classes that have to stay.
"""

from typing import Any

import numpy as np
import torch
import torch.fx as fx
from torch import Tensor, nn

from edgeprune.graph.classes import Bools, Graph
from edgeprune.graph.flow import Flow
from edgeprune.graph.labels import tensors_in
from edgeprune.graph.liveness import Liveness, liveness_of
from edgeprune.graph.nodes import layer_name
from edgeprune.graph.ops import op_name, source_of, spec_of
from edgeprune.graph.ordering import Orders
from edgeprune.graph.survivors import Immovable, Survivors, is_broken
from edgeprune.recording.record import VALUE, WRITES
from edgeprune.rewrite.assignments import Assignments
from edgeprune.rewrite.bypasses import Bypasses
from edgeprune.rewrite.channel_pads import ChannelPads
from edgeprune.rewrite.context import RewriteContext
from edgeprune.rewrite.graph_editor import Editor
from edgeprune.rewrite.group_counts import GroupCounts
from edgeprune.rewrite.moves import Moves
from edgeprune.rewrite.operands import Operands
from edgeprune.rewrite.sizes import Sizes

__all__ = ["Immovable", "Rewriter", "left_out"]


class Rewriter:
    """One walk over ``graph``: each node is rewritten by the object for its kind.

    Args:
        graph: of a module.
        root: has a copy of its layers, with their tensors already cut.
        keep: (classes,) which stay.
        orders: in which the classes of a group stay, where that changes.
        bypass: leave emptied branches out of the sums they are added to.
        nonnegative: nodes that are never below 0.
    """

    def __init__(
        self,
        graph: Graph,
        root: nn.Module,
        keep: Bools,
        orders: Orders,
        *,
        bypass: bool = False,
        nonnegative: frozenset[fx.Node] = frozenset(),
    ) -> None:
        liveness = liveness_of(graph.flow, graph.class_of, keep)
        context = RewriteContext(
            graph,
            root,
            liveness,
            Survivors(graph, keep, orders),
            Editor(graph.module.graph, root),
            silent=frozenset(left_out(graph.flow, liveness) if bypass else ()),
        )
        self.graph, self.flow, self.root, self.liveness = graph, graph.flow, root, liveness
        self.survivors, self.editor, self.actual = context.survivors, context.editor, context.actual
        self.moves, self.assignments = Moves(context), Assignments(context)
        self.channel_pads, self.sizes = ChannelPads(context), Sizes(context)
        self.bypasses, self.operands = Bypasses(context, nonnegative), Operands(context)
        self.group_counts = GroupCounts(context)
        self.remaps = {remap.node: remap for remap in self.flow.remaps}
        self.sums = {
            consumer.node for consumer in self.flow.consumers if consumer.weight is None
        } - self.remaps.keys()

    def run(self) -> fx.Graph:
        """Rewrite every node that still works; raises Immovable."""
        if self.liveness.blocked:
            classes = np.unique(np.array([item for _, item in self.liveness.blocked], dtype=np.int64))
            raise Immovable(classes, layer_name(self.liveness.blocked[0][0]), "it needs at least one")
        for node in self.graph.module.graph.nodes:
            if node.op != "output":
                self.actual[node] = self._step(node)
        for node in self.flow.writing:
            if WRITES in node.meta:
                self._check_write(node)
        writing = {self.editor.new[n] for n in self.flow.writing}
        graph = self.editor.graph
        graph.eliminate_dead_code(lambda n: n.op in ("placeholder", "output") or n in writing)
        graph.lint()
        return graph

    def _check_write(self, node: fx.Node) -> None:
        """Check that what is written into is still a part of the tensor that is used under another name."""
        new = self.editor.new[node]
        if op_name(new) != op_name(node):
            raise self.survivors.refuse([self.flow.values[n] for n in node.meta[WRITES]], node)
        source = source_of(new)
        while (
            isinstance(source, fx.Node)
            and source.op.startswith("call")
            and (op_name(source) == "index_select" or spec_of(source).views)
        ):
            if op_name(source) == "index_select":
                raise self.survivors.refuse([self.flow.values[n] for n in node.meta[WRITES]], node)
            source = source_of(source)

    def _step(self, node: fx.Node) -> Any:
        labels = self.flow.values[node]
        if labels is None and node.op == "get_attr":  # a layer's weight: only its shape can matter
            return torch.zeros((), dtype=torch.long).expand(_value(self.root, str(node.target)).shape)
        if node not in self.liveness.working or node.op in ("placeholder", "get_attr"):
            return self.survivors.of(labels)
        if not tensors_in(node.meta[VALUE]):
            return self.sizes.value(node)
        if spec_of(node).creates:
            return self.sizes.created(node, labels)
        if op_name(node) == "setitem":
            return self.assignments.assign(node)
        if node in self.flow.movers:
            return self.moves.move(node)
        return self._rule(node, labels)

    def _rule(self, node: fx.Node, labels: Any) -> Any:
        sources = [n for n in node.all_input_nodes if not self.liveness.gone(n)]
        expected = self.survivors.of(labels)
        if op_name(node) == "getitem":
            return expected
        if is_broken([self.actual[n] for n in sources]) or is_broken(expected):
            raise self.survivors.refuse([labels, *(self.flow.values[n] for n in sources)], node)
        self.sizes.keep_literals(node)
        if node in self.remaps:
            self.channel_pads.rewrite(node, self.remaps[node])
        elif node in self.sums:
            self._sum(node)
        elif node in self.flow.pointwise:
            if not self.bypasses.take(node):
                self.operands.rewrite(node)
        else:
            self.group_counts.rewrite(node)
        return expected

    def _sum(self, node: fx.Node) -> None:
        """Rewrite a mean over channels to divide by the original number."""
        source = source_of(node)
        before, after = self.flow.values[source].numel(), self.actual[source].numel()
        if op_name(node) != "mean" or before == after:
            return
        with self.editor.graph.inserting_after(self.editor.new[node]):
            scaled = self.editor.call(torch.mul, self.editor.new[node], after / before)
        self.editor.replace(node, scaled)


def left_out(flow: Flow, liveness: Liveness) -> list[tuple[fx.Node, fx.Node]]:
    """Return (sum, operand) for each emptied branch that is added to others."""
    return [
        (node, operand)
        for node in flow.module.graph.nodes
        if node in liveness.working and op_name(node) in ("add", "sub")
        for operand in node.all_input_nodes
        if operand in liveness.constant
    ]


def _value(module: nn.Module, path: str) -> Tensor:
    value: Any = module
    for name in path.split("."):
        value = getattr(value, name)
    return value
