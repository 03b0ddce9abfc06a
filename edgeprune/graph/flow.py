"""Walk a traced graph once with labels in place of numbers (design: the channel-label idea).

`Flow` holds what the rules write down: which labels are tied, which are protected and why, which
slots of which parameter belong to which label, who reads channels, and what each operation costs.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.fx as fx
from torch import Tensor, nn

from edgeprune.graph import labels as lb
from edgeprune.graph.ops import LAYER_FUNCTIONS, op_name
from edgeprune.graph.trace import VALUE

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Reader:
    """A node that mixes channels: there a dropped channel is read as zero.

    ``labels`` is the label vector along ``axis`` of the node's first tensor input; ``weight`` names
    the parameter that is indexed by them (None for a remapping pad).
    """

    node: fx.Node
    axis: int
    labels: Tensor
    weight: str | None


@dataclass(frozen=True)
class Remap:
    """A pad of the channel axis: output channel i is input channel ``source[i]``, or constant where -1."""

    node: fx.Node
    axis: int
    inputs: Tensor
    outputs: Tensor
    source: Tensor
    fill: float


@dataclass(frozen=True)
class Cost:
    """FLOPs of one node, counted as fvcore counts: ``coefficient`` times the kept lengths of ``axes``."""

    node: fx.Node
    coefficient: float
    axes: tuple[Tensor, ...]


@dataclass
class Call:
    """One node with its arguments replaced by label tensors."""

    node: fx.Node
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    module: nn.Module | None
    op: str

    @property
    def x(self) -> Any:
        """The first argument."""
        return self.args[0] if self.args else next(iter(self.kwargs.values()))

    def get(self, position: int, name: str, default: Any = None) -> Any:
        """Argument by position or name."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)

    def argument_node(self, position: int, name: str) -> Any:
        """The unevaluated argument: a node, or a constant."""
        arguments = self.node.args
        return arguments[position] if len(arguments) > position else self.node.kwargs.get(name)

    @property
    def value(self) -> Any:
        """What the node gave on the example."""
        return self.node.meta[VALUE]

    @property
    def shape(self) -> Shape:
        """Shape of the node's (tensor) value."""
        return tuple(self.value.shape)


@dataclass
class Flow:
    """State of one walk; after `run` its fields are the result."""

    module: fx.GraphModule
    values: dict[fx.Node, Any] = field(default_factory=dict)
    ties: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    protections: list[tuple[Tensor, str, str]] = field(default_factory=list)
    slots: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)
    readers: list[Reader] = field(default_factory=list)
    remaps: list[Remap] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    attributes: dict[str, Tensor] = field(default_factory=dict)
    movers: set[fx.Node] = field(default_factory=set)
    pointwise: set[fx.Node] = field(default_factory=set)
    count: int = 1

    def __post_init__(self) -> None:
        self._canonical: dict[int, str] = {}
        self.aliases: dict[str, list[str]] = defaultdict(list)
        named = list(self.module.named_parameters(remove_duplicate=False))
        named += list(self.module.named_buffers(remove_duplicate=False))
        for name, tensor in named:
            first = self._canonical.setdefault(id(tensor), name)
            self.aliases[first].append(name)

    # --- what rules call -------------------------------------------------------------------------

    def fresh(self, size: int) -> Tensor:
        """``size`` labels that nothing else has."""
        self.count += size
        return torch.arange(self.count - size, self.count)

    def tie(self, a: Tensor, b: Tensor) -> None:
        """Labels of equal position (after broadcasting) stay or go together; 0 ties nothing."""
        a, b = torch.broadcast_tensors(a, b)
        both = (a != 0) & (b != 0) & (a != b)
        if bool(both.any()):
            self.ties.append((a[both], b[both]))

    def protect(self, labels: Any, reason: str, node: fx.Node) -> None:
        """These labels are never removed."""
        for tensor in tensors_in(labels):
            found = torch.unique(lb.core(tensor))
            found = found[found != 0]
            if len(found):
                self.protections.append((found, reason, layer_name(node)))

    def slot(self, name: str, axis: int, vector: Tensor, node: fx.Node) -> None:
        """Index ``axis`` of tensor ``name`` by ``vector``; a second use ties the two."""
        known = self.slots.get((name, axis))
        if known is None:
            self.slots[name, axis] = vector.clone()
            return
        self.tie(known, vector)
        clash = (known == 0) != (vector == 0)
        if bool(clash.any()):
            self.protect(known + vector * (known == 0), "a parameter is shared with a constant input", node)
            self.slots[name, axis] = torch.where(known == 0, vector, known)

    def output_labels(self, name: str, axis: int, size: int) -> Tensor:
        """Labels of the channels that parameter ``name`` makes along its ``axis``; the same on every use."""
        self.outputs.setdefault(name, axis)
        if (name, axis) not in self.slots:
            self.slots[name, axis] = self.fresh(size)
        return self.slots[name, axis]

    def tensor_name(self, tensor: Any) -> str | None:
        """Canonical state-dict name of a parameter or buffer."""
        return None if tensor is None else self._canonical.get(id(tensor))

    def attribute(self, node: Any) -> str | None:
        """Canonical name of the tensor that a get_attr node reads."""
        if isinstance(node, fx.Node) and node.op == "get_attr":
            return self.tensor_name(node.meta[VALUE])
        return None

    def cost(self, node: fx.Node, coefficient: float, *axes: Tensor) -> None:
        """Count ``coefficient`` x the kept lengths of ``axes`` FLOPs for ``node``."""
        self.costs.append(Cost(node, coefficient, axes))

    def cost_of_numel(self, node: fx.Node, labels: Tensor, scale: float) -> None:
        """Count ``scale`` FLOPs for each element of a tensor with these ``labels``."""
        small = lb.core(labels)
        axes, coefficient = [], scale
        for axis, size in enumerate(labels.shape):
            vector = lb.vector_along(labels, axis) if small.shape[axis] > 1 else None
            if vector is None:
                coefficient *= size
            else:
                axes.append(vector)
        self.cost(node, coefficient, *axes)

    # --- the walk --------------------------------------------------------------------------------

    def run(self, apply_rule: "Callable[[Flow, Call], Any]") -> "Flow":
        """Visit every node in order; ``apply_rule`` gives the labels of a call's result."""
        for node in self.module.graph.nodes:
            self.values[node] = self._step(node, apply_rule)
        return self

    def _step(self, node: fx.Node, apply_rule: "Callable[[Flow, Call], Any]") -> Any:
        if node.op == "placeholder":
            return self._input(node)
        if node.op == "get_attr":
            return self._get_attr(node)
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: self.values[n])
        if node.op == "output":
            self.protect(args, "output of the network", node)
            return None
        call = Call(node, args, kwargs, self._module_of(node), "")
        return lb.compress(apply_rule(self, call))

    def _module_of(self, node: fx.Node) -> nn.Module | None:
        return self.module.get_submodule(str(node.target)) if node.op == "call_module" else None

    def _input(self, node: fx.Node) -> Any:
        value = node.meta[VALUE]
        if not isinstance(value, Tensor):
            return value
        axis = min(1, value.dim() - 1)
        if axis < 0:
            return torch.zeros((), dtype=torch.long)
        labels = lb.spread(self.fresh(value.shape[axis]), axis, tuple(value.shape))
        self.protect(labels, "input of the network", node)
        return labels

    def _get_attr(self, node: fx.Node) -> Any:
        value = node.meta[VALUE]
        name = self.attribute(node)
        if not isinstance(value, Tensor) or name is None:
            return lb.compress(torch.zeros(value.shape, dtype=torch.long)) if isinstance(value, Tensor) else value
        if all(_is_weight_argument(user, node) for user in node.users):
            return None
        if name not in self.attributes:
            self.attributes[name] = self.fresh(value.numel()).view(value.shape)
        return self.attributes[name]


def _is_weight_argument(user: fx.Node, node: fx.Node) -> bool:
    """Whether ``user`` is a functional layer that takes ``node`` as its weight, bias or statistic."""
    return user.op == "call_function" and op_name(user) in LAYER_FUNCTIONS and user.args[0] is not node


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [tensor for item in value for tensor in tensors_in(item)]
    return []


def layer_name(node: fx.Node) -> str:
    """What a person would call this node: the module's path, or the operation's name."""
    return str(node.target) if node.op in ("call_module", "get_attr", "placeholder") else node.name
