"""Rewrite a traced graph for the channels that stay, and prove the movement on the labels.

The graph is walked once more with labels, now only the surviving ones. At every tensor the rewritten
operation must give exactly the surviving labels of the original, in order. Where a rewritten constant
(a view size, a split, a pad) cannot give that, an index-select is put in; where that cannot be either,
`Immovable` names the classes that have to stay.
"""

import copy
from typing import Any

import numpy as np
import torch
import torch.fx as fx
from torch import Tensor, nn

from edgeprune.graph.classes import Bools, Graph
from edgeprune.graph.flow import Flow
from edgeprune.graph.labels import tensors_in
from edgeprune.graph.liveness import Liveness, liveness_of
from edgeprune.graph.nodes import layer_name, weight_node
from edgeprune.graph.ops import op_name, source_of, spec_of
from edgeprune.graph.ordering import Orders
from edgeprune.graph.survivors import Immovable, Survivors, is_broken
from edgeprune.recording.record import VALUE, WRITES
from edgeprune.rewrite.constants import Constants, out_of_place
from edgeprune.rewrite.graph_editor import Editor, set_argument
from edgeprune.rewrite.moves import Moves

__all__ = ["Immovable", "Rewriter", "left_out"]

_SIZE_QUESTIONS = {"size", "shape", "numel", "nelement"}


class Rewriter:
    """One walk over ``graph``; ``root`` has a copy of its layers, with their tensors already cut.

    With ``bypass`` emptied branches are left out of the sums they are added to.
    """

    def __init__(
        self,
        graph: Graph,
        root: nn.Module,
        keep: Bools,
        orders: Orders,
        *,
        bypass: bool = False,
        nonnegative: set[fx.Node] = frozenset(),  # type: ignore[assignment]
    ) -> None:
        self.nonnegative = nonnegative
        self.graph, self.flow, self.root = graph, graph.flow, root
        self.liveness = liveness_of(graph.flow, graph.class_of, keep)
        self.silent = set(left_out(graph.flow, self.liveness)) if bypass else set()
        self.survivors = Survivors(graph, keep, orders)
        self.editor = Editor(graph.module.graph, root)
        self.actual: dict[fx.Node, Any] = {}
        self.moves = Moves(self.flow, self.liveness, self.survivors, self.editor, self.actual)
        self.constants = Constants(self.flow, self.liveness, self.survivors, self.editor, self.picks)
        self.bypassed: set[fx.Node] = set()
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
            return self._plain(node)
        if spec_of(node).creates:
            return self._created(node, labels)
        if op_name(node) == "setitem":
            return self.moves.assign(node)
        if node in self.flow.movers:
            return self.moves.move(node)
        return self._rule(node, labels)

    # --- sizes and flags ---------------------------------------------------------------------------

    def _plain(self, node: fx.Node) -> Any:
        """A size or a flag: sizes as they are for the survivors, the rest as on the example."""
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: self.actual[n])
        if is_broken([args, kwargs]):
            raise self.survivors.refuse([self.flow.values[n] for n in node.all_input_nodes], node)
        question = args[1] if op_name(node) == "getattr" else op_name(node)
        if tensors_in([args, kwargs]) and question not in _SIZE_QUESTIONS:
            return node.meta[VALUE]
        try:
            if node.op == "call_method":
                return getattr(args[0], str(node.target))(*args[1:], **kwargs)
            return node.target(*args, **kwargs)  # type: ignore[operator]
        except Exception:  # whatever the user's arithmetic does on a size it never saw
            return node.meta[VALUE]

    def _keep_literals(self, node: fx.Node) -> None:
        """Keep a size that enters the arithmetic (x / x.shape[1]) as it was."""
        new = self.editor.new[node]
        changed = {
            self.editor.new[n]: n.meta[VALUE]
            for n in node.all_input_nodes
            if not tensors_in(n.meta[VALUE]) and self.actual[n] != n.meta[VALUE]
        }
        if changed:
            new.args, new.kwargs = fx.node.map_arg((new.args, new.kwargs), lambda n: changed.get(n, n))

    # --- everything that is no mover ---------------------------------------------------------------

    def _rule(self, node: fx.Node, labels: Any) -> Any:
        sources = [n for n in node.all_input_nodes if not self.liveness.gone(n)]
        expected = self.survivors.of(labels)
        if op_name(node) == "getitem":
            return expected
        if is_broken([self.actual[n] for n in sources]) or is_broken(expected):
            raise self.survivors.refuse([labels, *(self.flow.values[n] for n in sources)], node)
        self._keep_literals(node)
        if node in self.remaps:
            self.moves.remap(node, self.remaps[node])
        elif node in self.sums:
            self._sum(node)
        elif node in self.flow.pointwise:
            self._operands(node)
        else:
            self._group_counts(node)
        return expected

    def _created(self, node: fx.Node, labels: Any) -> Any:
        """torch.zeros(sizes): sizes that are not those of what stays are put in."""
        expected = self.survivors.of(labels)
        if not isinstance(expected, Tensor):
            raise self.survivors.refuse(labels, node)
        new, place = self.editor.new[node], 1 if op_name(node).startswith("new_") else 0
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: self.actual[n])
        if "size" in node.kwargs:
            new.update_kwarg("size", _sizes(new.kwargs["size"], kwargs["size"], expected.shape))
        elif isinstance(node.args[place], (tuple, list)):
            new.update_arg(place, _sizes(new.args[place], args[place], expected.shape))
        elif not isinstance(args[place], tuple):
            new.args = (*new.args[:place], *_sizes(new.args[place:], args[place:], expected.shape))
        else:
            new.update_arg(place, _sizes(new.args[place], args[place], expected.shape))
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

    def _group_counts(self, node: fx.Node) -> None:
        """Numbers of groups, in the graph or in a layer that has no vectors to tell them by."""
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
        """A GroupNorm or InstanceNorm without vectors, of its own where it is used on other channels too."""
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

    # --- pointwise operands --------------------------------------------------------------------------

    def picks(self, node: fx.Node, operand: fx.Node) -> list[tuple[int, Tensor, int]]:
        """Return the (axis, positions, width) to select so that an operand matches the others element by element."""
        labels, value = self.flow.values[node], self.flow.values[operand]
        target_index, operand_index = self.survivors.index(labels), self.survivors.index(value)
        if target_index is None or operand_index is None:
            raise self.survivors.refuse([labels, value], node)
        selections, lead = [], labels.dim() - value.dim()
        for axis, size in enumerate(value.shape):
            if size == 1 and labels.shape[axis + lead] != 1:
                continue
            target, current = target_index[axis + lead].tolist(), operand_index[axis].tolist()
            if target != current:
                place = {index: position for position, index in enumerate(current)}
                if any(index not in place for index in target):
                    raise self.survivors.refuse([labels, value], node)
                selections.append(
                    (axis, torch.tensor([place[i] for i in target], dtype=torch.long), len(current))
                )
        return selections

    def _operands(self, node: fx.Node) -> None:
        """Cut the operands that are wider than the result, and read folded constants as parameters."""
        new = self.editor.new[node]
        if self._bypass(node) or self._again(node):
            return
        for operand in list(node.all_input_nodes):
            if not isinstance(self.flow.values[operand], Tensor):
                continue
            with self.editor.before(node):
                stand_in = self._stand_in(node, operand)
            if stand_in is not self.editor.new[operand]:
                new.replace_input_with(self.editor.new[operand], stand_in)
                self._write_elsewhere(new)

    def _stand_in(self, node: fx.Node, operand: fx.Node) -> fx.Node:
        if (node, operand) in self.silent:
            return self.editor.buffer("edgeprune_zero", torch.zeros_like(self.constants.value(operand)))
        if operand in self.liveness.constant:
            return self.constants.node(operand)
        selected = self.editor.new[operand]
        for axis, positions, width in self.picks(node, operand):
            selected = self.editor.pick(selected, axis, positions, width)
        return selected

    def _write_elsewhere(self, new: fx.Node) -> None:
        """Replace an in-place operation that would write into a parameter or a part of another tensor."""
        if new.op == "call_method":
            new.target = str(new.target).rstrip("_")
        elif new.op == "call_function":
            new.target = out_of_place(new.target)

    def _bypass(self, node: fx.Node) -> bool:
        """Replace x + 0 by x, where 0 is left of an emptied branch."""
        if op_name(node) not in ("add", "sub") or node.kwargs or len(node.args) != 2:
            return False
        zero = [
            isinstance(n, fx.Node) and (self.liveness.constant.get(n, False) or (node, n) in self.silent)
            for n in node.args
        ]
        other = node.args[1 if zero[0] else 0]
        if not any(zero) or (op_name(node) == "sub" and zero[0]) or not isinstance(other, fx.Node):
            return False
        if self.liveness.gone(other) or other in self.flow.static or self.picks(node, other):
            return False
        if other.meta[VALUE].shape != node.meta[VALUE].shape:
            return False
        self.editor.replace(node, self.editor.new[other])
        self.bypassed.add(node)
        return True

    def _again(self, node: fx.Node) -> bool:
        """ReLU of what is not negative, where the sum between two of them has gone."""
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


def _sizes(written: Any, values: Any, shape: torch.Size) -> Any:
    """Sizes as they are written where they give ``shape``, else numbers."""
    if isinstance(written, fx.Node):  # x.shape as it is
        return written if tuple(values) == tuple(shape) else tuple(shape)
    return tuple(n if v == w else w for n, v, w in zip(written, values, shape, strict=True))


def left_out(flow: Flow, liveness: Liveness) -> list[tuple[fx.Node, fx.Node]]:
    """Return (sum, operand) for each emptied branch that is added to others."""
    return [
        (node, operand)
        for node in flow.module.graph.nodes
        if node in liveness.working and op_name(node) in ("add", "sub")
        for operand in node.all_input_nodes
        if operand in liveness.constant
    ]


def _is(root: nn.Module, node: fx.Node, kind: type[nn.Module], name: str) -> bool:
    """Tell whether a node is a layer of a kind, or the function or method of that name."""
    if node.op == "call_module":
        return isinstance(root.get_submodule(str(node.target)), kind)
    return node.op in ("call_function", "call_method") and op_name(node).rstrip("_") == name


def _value(module: nn.Module, path: str) -> Tensor:
    value: Any = module
    for name in path.split("."):
        value = getattr(value, name)
    return value
