"""Rewrite a traced graph for the channels that stay, and prove the movement on the labels.

The graph is walked once more with labels, now only the surviving ones. At every tensor the rewritten
operation must give exactly the surviving labels of the original, in order. Where a rewritten constant
(a view size, a split, a pad) cannot give that, an index-select is put in; where that cannot be either,
`Immovable` names the classes that have to stay.
"""

import operator
from typing import Any

import numpy as np
import torch
import torch.fx as fx
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.graph import labels as lb
from edgeprune.graph.classes import Bools, Graph, Ints
from edgeprune.graph.flow import Remap, layer_name, tensors_in
from edgeprune.graph.ops import op_name
from edgeprune.graph.ordering import Orders
from edgeprune.graph.rules import run_mover
from edgeprune.graph.trace import VALUE


class Immovable(Exception):
    """These classes cannot be removed exactly at ``where``."""

    def __init__(self, classes: Ints, where: str) -> None:
        super().__init__(where)
        self.classes = classes
        self.where = where


class _Broken:
    """Stands for a tensor whose survivors form no grid: it only exists inside a chain of movers."""


BROKEN = _Broken()


class Rewriter:
    """One walk over ``graph``; ``module`` is the copy whose graph is rewritten (its tensors already cut)."""

    def __init__(self, graph: Graph, module: fx.GraphModule, keep: Bools, orders: Orders) -> None:
        self.graph, self.module, self.orders = graph, module, orders
        self.alive = np.concatenate([keep, [True]])  # class -1 stays
        self.new = dict(zip(graph.module.graph.nodes, module.graph.nodes, strict=True))
        self.actual: dict[fx.Node, Any] = {}
        self.constants: dict[fx.Node, Tensor] = {}
        self.remaps = {remap.node: remap for remap in graph.flow.remaps}
        self.reads = {reader.node: reader for reader in graph.flow.readers}
        self.inserted = 0

    # --- survivors -------------------------------------------------------------------------------

    def kept(self, labels: Tensor) -> Tensor:
        """Which labels stay."""
        return torch.from_numpy(self.alive[self.graph.class_of[labels.numpy()]])

    def index(self, labels: Tensor) -> list[Tensor] | None:
        """Surviving indices by axis, in the order they are written; None when they form no grid."""
        axes = lb.alive_indices(labels, self.kept)
        if axes is None or not self.orders:
            return axes
        small = lb.core(labels)
        for axis, size in enumerate(small.shape):
            if size > 1 and small.numel() == size:
                order = self.orders.get(self.graph.class_of[small.reshape(-1).numpy()].tobytes())
                axes[axis] = axes[axis] if order is None else torch.from_numpy(order)
        return axes

    def survivors(self, labels: Any) -> Any:
        """The label tensor(s) that must arrive after rewriting; BROKEN where there is no grid."""
        if isinstance(labels, (tuple, list)):
            return type(labels)(self.survivors(item) for item in labels)
        if isinstance(labels, dict):
            return {key: self.survivors(item) for key, item in labels.items()}
        if not isinstance(labels, Tensor):
            return labels
        axes = self.index(labels)
        if axes is None:
            return BROKEN
        small = lb.core(labels)
        for axis, index in enumerate(axes):
            if small.shape[axis] > 1:
                small = small.index_select(axis, index)
            elif len(index) == 0:
                small = small.narrow(axis, 0, 0)
        return small.expand([len(index) for index in axes])

    def refuse(self, labels: Any, node: fx.Node) -> Immovable:
        """The error that keeps every class in ``labels``."""
        found = [self.graph.class_of[lb.core(t).numpy()].reshape(-1) for t in tensors_in(labels)]
        classes = np.unique(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)
        return Immovable(classes[classes >= 0], layer_name(node))

    # --- the walk --------------------------------------------------------------------------------

    def run(self) -> fx.GraphModule:
        """Rewrite every node; raises Immovable."""
        for node in self.graph.module.graph.nodes:
            if node.op == "output":
                continue
            self.actual[node] = self._step(node)
        self.module.graph.eliminate_dead_code()
        self.module.delete_all_unused_submodules()
        self.module.graph.lint()
        self.module.recompile()
        return self.module

    def _step(self, node: fx.Node) -> Any:
        labels = self.graph.flow.values[node]
        if node.op in ("placeholder", "get_attr"):
            return self.survivors(labels)
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: self.actual[n])
        if not tensors_in(node.meta[VALUE]):
            return self._plain(node, args, kwargs)
        if self._is_constant(node):
            return self._fold(node, labels)
        if node in self.graph.flow.movers:
            return self._move(node, args, kwargs, self.survivors(labels))
        return self._rule(node, args, kwargs, labels)

    def _plain(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        """A size or a flag: computed on the survivors."""
        if node.op == "call_module" or any(v is BROKEN or v is None for v in _flat([args, kwargs])):
            return node.meta[VALUE]
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        return node.target(*args, **kwargs)  # type: ignore[operator]

    def _rule(self, node: fx.Node, args: Any, kwargs: Any, labels: Any) -> Any:
        if any(value is BROKEN for value in _flat([args, kwargs])):
            raise self.refuse([self.graph.flow.values[n] for n in node.all_input_nodes], node)
        expected = self.survivors(labels)
        if op_name(node) == "getitem":
            return expected
        if any(v is BROKEN for v in _flat(expected)):
            raise self.refuse(labels, node)
        if node in self.remaps:
            self._remap(node, self.remaps[node])
        elif node in self.graph.flow.pointwise:
            self._operands(node, labels)
        elif node.op == "call_function":
            self._functional(node, args)
        return expected

    # --- layers called as functions ------------------------------------------------------------------

    def _functional(self, node: fx.Node, args: Any) -> None:
        """Group counts that stand as constants in the graph."""
        name, new = op_name(node), self.new[node]
        if name.startswith("conv"):
            place, weight = 6, self.graph.flow.attribute(node.args[1])
            groups = node.args[place] if len(node.args) > place else node.kwargs.get("groups", 1)
            channels = self.graph.flow.values[node.args[0]]
            axis = channels.dim() - (node.meta[VALUE].dim() - 1) if weight else 1
            if groups != 1 and groups == channels.shape[axis]:
                _set_argument(new, place, "groups", int(args[0].shape[axis]))
        elif name == "group_norm":
            groups = node.args[1] if len(node.args) > 1 else node.kwargs["num_groups"]
            size = self.graph.flow.values[node.args[0]].shape[1] // groups
            _set_argument(new, 1, "num_groups", int(args[0].shape[1]) // size)

    # --- constants -----------------------------------------------------------------------------------

    def _is_constant(self, node: fx.Node) -> bool:
        """A mixer that reads nothing any more, or an operation on such constants alone."""
        reader = self.reads.get(node)
        if reader is not None and reader.weight is not None:
            return len(reader.labels) > 0 and not bool(self.kept(reader.labels).any())
        inputs = [n for n in node.all_input_nodes if n.op != "get_attr"]
        return bool(inputs) and all(n in self.constants for n in inputs)

    def _fold(self, node: fx.Node, labels: Tensor) -> Any:
        """Compute the constant; it stands for one value in each channel, everywhere alike."""
        expected = self.survivors(labels)
        if expected is BROKEN:
            raise self.refuse(labels, node)
        new = self.new[node]
        if node in self.reads:
            self.constants[node] = self._bias(node, expected)
            return expected
        if node.op != "call_module" and node not in self.graph.flow.pointwise:
            raise self.refuse(self._sources(node), node)
        args = fx.node.map_arg(node.args, lambda n: self.constants[n])
        with torch.no_grad():
            if node.op == "call_module":
                layer = self.module.get_submodule(str(node.target)).eval()
                if not isinstance(layer, (nn.modules.batchnorm._BatchNorm, *_ELEMENTWISE)):
                    raise self.refuse(self._sources(node), node)
                self.constants[node] = layer(*args)
            elif node.op == "call_method":
                self.constants[node] = getattr(args[0], str(node.target))(*args[1:], **new.kwargs)
            else:
                self.constants[node] = node.target(*args, **new.kwargs)  # type: ignore[operator]
        return expected

    def _sources(self, node: fx.Node) -> list[Tensor]:
        """Labels read by the emptied mixers above ``node``: one of them has to stay."""
        found, stack = [], [node]
        while stack:
            for source in stack.pop().all_input_nodes:
                if source in self.reads and source in self.constants:
                    found.append(self.reads[source].labels)
                elif source in self.constants:
                    stack.append(source)
        return found

    def _bias(self, node: fx.Node, expected: Tensor) -> Tensor:
        """What a layer without inputs gives: its bias."""
        bias = self._bias_tensor(node)
        axis = node.meta[VALUE].dim() - 1 if "linear" in _kind(node, self.module) else self.reads[node].axis
        size = expected.shape[axis]
        shape = [1] * expected.dim()
        shape[axis] = size
        like = next(self.module.parameters())
        values = torch.zeros(size, dtype=like.dtype, device=like.device) if bias is None else bias.detach()
        return values.reshape(shape)

    def _bias_tensor(self, node: fx.Node) -> Tensor | None:
        if node.op == "call_module":
            return getattr(self.module.get_submodule(str(node.target)), "bias", None)
        found = node.args[2] if len(node.args) > 2 else node.kwargs.get("bias")
        if not isinstance(found, fx.Node):
            return None
        value: Any = self.module
        for part in str(found.target).split("."):
            value = getattr(value, part)
        return value

    # --- pointwise operands --------------------------------------------------------------------------

    def _operands(self, node: fx.Node, labels: Tensor) -> None:
        """Cut what is still as wide as before (constants), and read folded constants as parameters."""
        new = self.new[node]
        axes = self.index(labels)
        for operand in list(node.all_input_nodes):
            value = self.actual[operand]
            if operand in self.constants:
                self._use_constant(node, operand)
            elif isinstance(value, Tensor) and axes is not None:
                self._narrow_operand(new, operand, value, labels, axes)
        others = [n for n in node.all_input_nodes if n not in self.constants]
        if op_name(node) == "add" and len(others) == 1 and len(node.args) == 2 and not node.kwargs:
            zero = [n for n in node.all_input_nodes if n in self.constants and not bool(self.constants[n].any())]
            if zero:
                new.replace_all_uses_with(self.new[others[0]])

    def _narrow_operand(self, new: fx.Node, operand: fx.Node, value: Tensor, labels: Tensor, axes: list[Tensor]) -> None:
        lead = labels.dim() - value.dim()
        for axis, size in enumerate(value.shape):
            index = axes[axis + lead]
            if size == labels.shape[axis + lead] and size != len(index) and size > 1:
                with self.module.graph.inserting_before(new):
                    cut = self._gather(self.new[operand], axis, index, size)
                new.replace_input_with(self.new[operand], cut)

    def _use_constant(self, node: fx.Node, operand: fx.Node) -> None:
        name = f"{self.new[operand].name}_constant"
        if not hasattr(self.module, name):
            self.module.register_parameter(name, nn.Parameter(self.constants[operand].clone()))
        with self.module.graph.inserting_before(self.new[node]):
            read = self.module.graph.get_attr(name)
        self.new[node].replace_input_with(self.new[operand], read)

    # --- remaps --------------------------------------------------------------------------------------

    def _remap(self, node: fx.Node, remap: Remap) -> None:
        """Rewrite a pad of channels: what survives on both sides passes, the rest is the pad's constant."""
        into = self._order_of(remap.inputs)
        out = self._order_of(remap.outputs)
        place = {int(index): position for position, index in enumerate(into)}
        source = [place.get(int(remap.source[int(i)]), -1) for i in out]
        new = self.new[node]
        x = new.args[0] if new.args else new.kwargs["input"]
        with self.module.graph.inserting_before(new):
            result = self._slice_and_pad(x, remap, source, len(into), node)
        new.replace_all_uses_with(result)
        self.new[node] = result
        self.module.graph.erase_node(new)

    def _order_of(self, vector: Tensor) -> Ints:
        classes = self.graph.classes_of(vector)
        order = self.orders.get(classes.tobytes())
        return np.flatnonzero(self.alive[classes]) if order is None else order

    def _slice_and_pad(self, x: Any, remap: Remap, source: list[int], width: int, node: fx.Node) -> fx.Node:
        """Slice and pad when what passes is contiguous, else a gather from x with one constant channel more."""
        passing = [position for position in source if position >= 0]
        widths = _other_pads(node, remap.axis)
        start = passing[0] if passing else 0
        low = next((i for i, s in enumerate(source) if s >= 0), len(source))
        run = list(range(start, start + len(passing)))
        if source == [-1] * low + run + [-1] * (len(source) - low - len(run)):
            if len(run) < width:
                x = self.module.graph.call_function(torch.narrow, (x, remap.axis, start, len(run)))
            pads = _pad_list(widths, node, remap.axis, low, len(source) - low - len(run))
            return self._pad(x, pads, remap.fill)
        x = self._pad(x, _pad_list(widths, node, remap.axis, 0, 1), remap.fill)
        index = torch.tensor([width if s < 0 else s for s in source])
        return self._gather(x, remap.axis, index, width + 1)

    def _pad(self, x: Any, pads: list[int], fill: float) -> fx.Node:
        if not any(pads):
            return x
        return self.module.graph.call_function(F.pad, (x, pads), {} if fill == 0 else {"value": fill})

    # --- movers --------------------------------------------------------------------------------------

    def _move(self, node: fx.Node, args: Any, kwargs: Any, expected: Any) -> Any:
        if any(value is BROKEN for value in _flat([args, kwargs])):
            return self._after_broken(node, expected)
        module = self.module.get_submodule(str(node.target)) if node.op == "call_module" else None
        if _matches(_try(node, module, args, kwargs), expected):
            return expected
        if any(value is BROKEN for value in _flat(expected)):
            return self._after_broken(node, expected)
        for attempt in (self._resize, self._resplit, self._reindex):
            if attempt(node, args, kwargs, expected):
                return expected
        return self._regather(node, expected)

    def _after_broken(self, node: fx.Node, expected: Any) -> Any:
        """Inside or at the end of a chain without a grid: gather from before the chain, or go on."""
        if any(value is BROKEN for value in _flat(expected)):
            if len([n for n in node.all_input_nodes if tensors_in(n.meta[VALUE])]) != 1:
                raise self.refuse(self.graph.flow.values[node], node)
            return expected
        return self._regather(node, expected)

    def _resize(self, node: fx.Node, args: Any, kwargs: Any, expected: Any) -> bool:
        """Literal sizes of view, reshape, expand and unflatten."""
        name = op_name(node)
        if name not in ("view", "reshape", "expand", "unflatten") or not isinstance(expected, Tensor):
            return False
        new = self.new[node]
        offset = int(args[1]) % args[0].dim() if name == "unflatten" else 0
        where = 2 if name == "unflatten" else 1
        listed = len(new.args) > where and isinstance(new.args[where], (tuple, list))
        sizes = list(new.args[where] if listed else new.args[where:])  # type: ignore[arg-type]
        values = list(args[where] if listed else args[where:])
        for place, (size, value) in enumerate(zip(sizes, values, strict=True)):
            target = expected.shape[place + offset]
            if value != -1 and value != target:
                sizes[place] = target
                values[place] = target
        rest = (values,) if listed else tuple(values)
        if not _matches(_try(node, None, (*args[:where], *rest), kwargs), expected):
            return False
        new.args = (*new.args[:where], *((tuple(sizes),) if listed else tuple(sizes)))
        return True

    def _resplit(self, node: fx.Node, args: Any, kwargs: Any, expected: Any) -> bool:
        """split and chunk become a split into the surviving sizes."""
        if op_name(node) not in ("split", "chunk", "tensor_split", "split_with_sizes"):
            return False
        dim = args[2] if len(args) > 2 else kwargs.get("dim", 0)
        sizes = [int(part.shape[dim]) for part in expected]
        if sum(sizes) != args[0].shape[dim] or not _matches(tuple(torch.split(args[0], sizes, dim)), tuple(expected)):
            return False
        new = self.new[node]
        with self.module.graph.inserting_before(new):
            x = new.args[0] if new.args else new.kwargs["input"]
            replacement = self.module.graph.call_function(torch.split, (x, sizes, dim))
        self._replace(node, replacement)
        return True

    def _reindex(self, node: fx.Node, args: Any, kwargs: Any, expected: Any) -> bool:
        """x[:, a:b]: the other axes as they were, the channel axis by position."""
        if op_name(node) != "getitem" or not isinstance(args[0], Tensor) or not isinstance(expected, Tensor):
            return False
        index = args[1] if isinstance(args[1], tuple) else (args[1],)
        if Ellipsis in [i for i in index if not isinstance(i, Tensor)] or any(i is None for i in index):
            return False
        full = self.graph.flow.values[node.args[0]]
        for axis, item in enumerate(index):
            if isinstance(item, slice) and args[0].shape[axis] != full.shape[axis]:
                return self._slice_axis(node, index, axis, expected)
        return False

    def _slice_axis(self, node: fx.Node, index: tuple[Any, ...], axis: int, expected: Tensor) -> bool:
        if any(not isinstance(item, slice) for item in index[:axis]):
            return False
        source = node.args[0]
        full = self.graph.flow.values[source]
        before, picked = self.index(full), range(full.shape[axis])[index[axis]]
        if before is None:
            return False
        chosen = set(picked)
        positions = torch.tensor([p for p, i in enumerate(before[axis].tolist()) if i in chosen], dtype=torch.long)
        rest = (*index[:axis], slice(None), *index[axis + 1 :])
        if not _matches(self.actual[source].index_select(axis, positions)[rest], expected):
            return False
        new = self.new[node]
        with self.module.graph.inserting_before(new):
            cut = self._gather(self.new[source], axis, positions, self.actual[source].shape[axis])  # type: ignore[index]
            replacement = cut
            if any(item != slice(None) for item in rest):
                replacement = self.module.graph.call_function(operator.getitem, (cut, rest))
        self._replace(node, replacement)
        return True

    def _regather(self, node: fx.Node, expected: Any) -> Any:
        """Replace a chain of movers by one index-select from the last tensor that has a grid."""
        chain, origin = self._chain(node)
        labels = self.graph.flow.values[origin]
        if not isinstance(expected, Tensor):
            return self._gather_parts(node, chain, origin, expected)
        found = self._positions(chain, origin, labels, node)
        if found is None:
            raise self.refuse([labels, self.graph.flow.values[node]], node)
        axis, positions = found
        if not _matches(self.actual[origin].index_select(axis, positions), expected):
            raise self.refuse([labels, self.graph.flow.values[node]], node)
        with self.module.graph.inserting_before(self.new[node]):
            gathered = self._gather(self.new[origin], axis, positions, self.actual[origin].shape[axis])
        self._replace(node, gathered)
        return expected

    def _gather_parts(self, node: fx.Node, chain: list[fx.Node], origin: fx.Node, expected: Any) -> Any:
        raise self.refuse([self.graph.flow.values[origin], self.graph.flow.values[node]], node)

    def _chain(self, node: fx.Node) -> tuple[list[fx.Node], fx.Node]:
        """The movers from the last tensor with a grid down to ``node``."""
        chain = [node]
        while True:
            sources = [n for n in chain[0].all_input_nodes if tensors_in(n.meta[VALUE])]
            if len(sources) != 1:
                raise self.refuse(self.graph.flow.values[chain[0]], node)
            source = sources[0]
            if not any(v is BROKEN for v in _flat(self.actual[source])):
                return chain, source
            chain.insert(0, source)

    def _positions(
        self, chain: list[fx.Node], origin: fx.Node, labels: Any, node: fx.Node
    ) -> tuple[int, Tensor] | None:
        """(axis, positions in the surviving origin) that give the surviving result, if one axis does."""
        if not isinstance(labels, Tensor):
            return None
        wide = [axis for axis in range(labels.dim()) if lb.varies(labels, axis)]
        result, before = self.graph.flow.values[node], self.index(labels)
        if len(wide) != 1 or before is None or result.dim() != labels.dim():
            return None
        axis = wide[0]
        value: Any = lb.spread(torch.arange(1, labels.shape[axis] + 1), axis, tuple(labels.shape))
        values: dict[fx.Node, Any] = {origin: value}
        for step in chain:
            args, kwargs = fx.node.map_arg(
                (step.args, step.kwargs), lambda n: values.get(n, n.meta[VALUE])
            )
            module = self.graph.module.get_submodule(str(step.target)) if step.op == "call_module" else None
            values[step] = run_mover(step, op_name(step), module, args, kwargs)
        along, after = lb.vector_along(values[node], axis), self.index(result)
        if along is None or after is None:
            return None
        place = {int(i) + 1: p for p, i in enumerate(before[axis].tolist())}
        wanted = [place.get(int(along[i]), -1) for i in after[axis].tolist()]
        return None if -1 in wanted else (axis, torch.tensor(wanted, dtype=torch.long))

    # --- building nodes ------------------------------------------------------------------------------

    def _replace(self, node: fx.Node, replacement: fx.Node) -> None:
        old = self.new[node]
        old.replace_all_uses_with(replacement, delete_user_cb=lambda user: user is not replacement)
        self.new[node] = replacement

    def _gather(self, x: Any, axis: int, index: Tensor, width: int) -> Any:
        """The cheapest exact operation for "these positions, in this order"."""
        count = len(index)
        if count and bool((index == torch.arange(count) + index[0]).all()):
            if count == width:
                return x
            return self.module.graph.call_function(torch.narrow, (x, axis, int(index[0]), count))
        name = f"edgeprune_index_{self.inserted}"
        while hasattr(self.module, name):
            self.inserted += 1
            name = f"edgeprune_index_{self.inserted}"
        like = next(self.module.parameters(), torch.zeros(0))
        self.module.register_buffer(name, index.to(like.device))
        return self.module.graph.call_function(
            torch.index_select, (x, axis, self.module.graph.get_attr(name))
        )


_ELEMENTWISE = (
    nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.ELU,
    nn.LeakyReLU, nn.Identity, nn.PReLU, nn.modules.dropout._DropoutNd, nn.Mish, nn.Softplus,
)  # fmt: skip


def _flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [leaf for item in value for leaf in _flat(item)]
    return [value]


def _kind(node: fx.Node, module: fx.GraphModule) -> str:
    if node.op == "call_module":
        return type(module.get_submodule(str(node.target))).__name__.lower()
    return op_name(node)


def _set_argument(node: fx.Node, place: int, name: str, value: Any) -> None:
    if len(node.args) > place:
        node.update_arg(place, value)
    else:
        node.update_kwarg(name, value)


def _other_pads(node: fx.Node, axis: int) -> dict[int, tuple[int, int]]:
    """Pads of the axes other than ``axis``: {axis: (low, high)}."""
    widths = node.args[1] if len(node.args) > 1 else node.kwargs.get("pad", ())
    if node.op == "call_module":
        layer: Any = node.graph.owning_module.get_submodule(str(node.target))  # type: ignore[union-attr]
        widths = layer.padding
    dims = node.meta[VALUE].dim()
    pairs = {dims - 1 - k: (int(widths[2 * k]), int(widths[2 * k + 1])) for k in range(len(widths) // 2)}  # type: ignore
    return {a: pair for a, pair in pairs.items() if a != axis}


def _pad_list(others: dict[int, tuple[int, int]], node: fx.Node, axis: int, low: int, high: int) -> list[int]:
    pairs = {**others, axis: (low, high)}
    dims = node.meta[VALUE].dim()
    first = min(a for a, pair in pairs.items() if any(pair)) if any(any(p) for p in pairs.values()) else dims
    return [width for a in range(dims - 1, first - 1, -1) for width in pairs.get(a, (0, 0))]


def _try(node: fx.Node, module: nn.Module | None, args: Any, kwargs: Any) -> Any:
    try:
        if op_name(node) == "cat":
            return lb.cat(list(args[0]), int(args[1] if len(args) > 1 else kwargs.get("dim", kwargs.get("axis", 0))))
        return lb.run_on_labels(lambda *a, **k: run_mover(node, op_name(node), module, a, k), args, kwargs)
    except (RuntimeError, IndexError, ValueError, TypeError):
        return None


def _matches(found: Any, expected: Any) -> bool:
    """Whether the labels that arrive are exactly those that must."""
    if isinstance(expected, (tuple, list)):
        return (
            isinstance(found, (tuple, list))
            and len(found) == len(expected)
            and all(_matches(f, e) for f, e in zip(found, expected, strict=True))
        )
    if not isinstance(expected, Tensor) or not isinstance(found, Tensor) or found.shape != expected.shape:
        return False
    a, b = torch.broadcast_tensors(lb.core(found), lb.core(expected))
    return bool((a == b).all())
