"""What is known of an operation, in one record each, and one name for it however it is called."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.fx as fx
import torch.nn.functional as F
from torch import nn

from edgeprune.errors import EdgePruneError
from edgeprune.recording.names import SAME
from edgeprune.recording.record import CALL


@dataclass(frozen=True)
class OpSpec:
    """All that is known of one operation: propagation, liveness, cost, memory, importance and rewriting ask here.

    Attributes:
        name: as `op_name` gives it: ``relu`` for ``torch.relu``, ``x.relu_()`` and ``F.relu``; an operation of another
            library goes by ``namespace::name``, as ``torch.ops.namespace.name`` is registered.
        rule: takes the walk (a `Flow`) and the call (a `Call`, its arguments replaced by labels), and gives the labels
            of the result; it also counts FLOPs and says which axes of which parameters the labels index. None: what
            reaches the operation is protected.
        layers: classes of layers, or names of classes, that are this operation.
        elementwise: looks at one element at a time.
        keeps_zero: zero in, zero out.
        folds: makes of one constant for each channel another such.
        views: the result may share memory with the first argument.
        free: a runtime gives the result no memory of its own.
        overwrites: a runtime writes the result over the first argument, though this is not elementwise.
        computes_weights: a weight that is made by it may be cut along every axis.
        output_axis: along which axis of its weight the channels lie that it makes.
        has_weights: its arguments but the first are a layer's weights and statistics.
        shape_only: of a second tensor only the shape or type counts; other movers take it as an index.
        sizes_from: the position of the argument from which on sizes are written.
        splits: gives parts along an axis, by sizes or their number.
        creates: makes a tensor from sizes alone, with all its channels alike.
        random: gives something else each time.
        selects: picks by content, so that rounding may change what comes out altogether.
        asks_shape: gives plain values that depend on the shape or type of a tensor alone.
        reads_content: gives plain values that depend on what is in a tensor.
        arithmetic: adds, subtracts, multiplies or divides.
        scales_channels: normalises, and has a factor for each channel.
        takes_statistics: normalises by what it sees, in evaluation mode too.
    """

    name: str
    rule: Callable[[Any, Any], Any] | None = None
    layers: tuple[type[nn.Module] | str, ...] = ()
    elementwise: bool = False
    keeps_zero: bool = False
    folds: bool = False
    views: bool = False
    free: bool = False
    overwrites: bool = False
    computes_weights: bool = False
    output_axis: int | None = None
    has_weights: bool = False
    shape_only: bool = False
    sizes_from: int | None = None
    splits: bool = False
    creates: bool = False
    random: bool = False
    selects: bool = False
    asks_shape: bool = False
    reads_content: bool = False
    arithmetic: bool = False
    scales_channels: bool = False
    takes_statistics: bool = False


OPS: dict[str, OpSpec] = {}
_LAYERS: dict[type[nn.Module] | str, OpSpec] = {}


def register_op(spec: OpSpec, *, replace: bool = False) -> OpSpec:
    """Enter an operation into the table that everything asks.

    Args:
        spec: what is known of it.
        replace: take the place of the entry of that name.

    Raises:
        EdgePruneError: the name is taken, or empty.
    """
    if not spec.name or (spec.name in OPS and not replace):
        reason = "is in the table already: add replace=True to take its place" if spec.name else "has no name"
        raise EdgePruneError(f"the operation {spec.name!r} {reason}")
    OPS[spec.name] = spec
    _LAYERS.update(dict.fromkeys(spec.layers, spec))
    return spec


def unregister_op(name: str) -> None:
    """Take out what `register_op` entered; nothing where it is not there."""
    spec = OPS.pop(name, None)
    for layer in spec.layers if spec else ():
        _LAYERS.pop(layer, None)


def spec_of(node: fx.Node, layer: nn.Module | None = None) -> OpSpec:
    """Return what is known of a call; an empty record, with the call's name, where nothing is."""
    if layer is not None:
        return spec_of_layer(layer)
    name = op_name(node)
    return OPS.get(name) or _unknown(name)


def spec_of_layer(layer: nn.Module) -> OpSpec:
    """Return what is known of a layer, by its class or one that it is derived from."""
    for kind in type(layer).__mro__:
        spec = _LAYERS.get(kind) or _LAYERS.get(kind.__name__)
        if spec is not None:
            return spec
    return _unknown("")


@cache
def _unknown(name: str) -> OpSpec:
    return OpSpec(name)


_SPACES = (torch, F, operator, torch._C._nn, torch.special, torch.Tensor)


def assign(target: Any, index: Any, value: Any) -> Any:
    """Carry out ``target[index] = value`` and return the target.

    Args:
        target: the tensor that is written into.
        index: where.
        value: what is written.
    """
    target[index] = value
    return target


def _names() -> dict[Any, str]:
    table: dict[Any, str] = {}
    for space in reversed(_SPACES):
        for name in dir(space):
            function = getattr(space, name, None)
            if callable(function) and not name.startswith("__"):
                try:
                    table[function] = name
                except TypeError:
                    continue
    return table


_NAMES = _names()


def source_of(node: fx.Node) -> Any:
    """Return the first argument, by position or by the names torch gives it."""
    if node.args:
        return node.args[0]
    named = (node.kwargs[key] for key in ("input", "tensors", "self", "x") if key in node.kwargs)
    return next(named, next(iter(node.kwargs.values()), None))


def title(node: fx.Node) -> str:
    """Return a readable name of an operation that `op_name` does not know."""
    return op_name(node) or getattr(node.target, "__name__", None) or str(node.target)


def op_name(node: fx.Node) -> str:
    """Canonical name: 'add' for torch.add, x.add_, x + y and x += y; '' for a function we do not know."""
    site = node.meta.get(CALL)
    if site is not None:
        return site.op
    if node.op == "call_method":
        name = str(node.target)
    elif node.op == "call_function":
        try:
            name = _NAMES.get(node.target, "")
        except TypeError:
            return ""
        if node.target is getattr:
            return "getattr"
        if node.target is assign:
            return "setitem"
    else:
        return ""
    name = name if name.startswith("_") else name.rstrip("_")
    return SAME.get(name, name)


def nodes_in(value: Any) -> list[fx.Node]:
    """Return every node among the arguments of a call, in order, as often as it is there."""
    nodes: list[fx.Node] = []

    def note(node: fx.Node) -> fx.Node:
        nodes.append(node)
        return node

    fx.node.map_arg(value, note)
    return nodes
