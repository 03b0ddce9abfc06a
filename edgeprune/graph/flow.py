"""What a walk over a record writes down: labels, and all that the rules find out about them.

A record is walked once with labels in place of numbers (see `edgeprune.graph.walk`). Here is which labels are tied,
which are protected and why, which parameter axes belong to which label, who reads channels, and what each call costs.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.fx as fx
from torch import Tensor

from edgeprune.graph import labels as lb
from edgeprune.graph.call import Call
from edgeprune.graph.computed import named
from edgeprune.graph.computed_weights import ComputedWeights
from edgeprune.graph.labels import tensors_in
from edgeprune.graph.nodes import layer_name, static_nodes
from edgeprune.graph.ops import source_of
from edgeprune.graph.tensor_names import TensorNames
from edgeprune.recording.record import VALUE, Record
from edgeprune.recording.walks import named_modules

OUTPUT = "output of the network"


@dataclass(frozen=True)
class Consumer:
    """A node that mixes channels: there a dropped channel is read as zero.

    ``labels`` is the label vector along ``axis`` of the node's first tensor input; ``weight`` names
    the parameter that is indexed by them (None for a remapping pad or a sum over channels).
    """

    node: fx.Node
    axis: int
    labels: Tensor
    weight: str | None

    @property
    def source(self) -> fx.Node:
        """Return the node whose channels are read."""
        node: fx.Node = source_of(self.node)
        return node


@dataclass(frozen=True)
class Remap:
    """A zero pad of the channel axis: output channel i is input channel ``source[i]``, or zero where -1.

    ``pads`` are the widths (low, high) of the other axes.
    """

    node: fx.Node
    axis: int
    inputs: Tensor
    outputs: Tensor
    source: Tensor
    pads: dict[int, tuple[int, int]]


@dataclass(frozen=True)
class Cost:
    """FLOPs of one node, counted as fvcore counts: ``coefficient`` times the kept lengths of ``axes``."""

    node: fx.Node
    coefficient: float
    axes: tuple[Tensor, ...]


@dataclass
class Flow:
    """Notes of one walk; after it its fields are the result.

    ``static`` holds the nodes whose tensors do not depend on the input: only those can serve as indices.
    ``writing`` holds the in-place operations whose effect is seen through other views of the same memory.
    ``names`` are those of the network's tensors, ``weights`` what its code computes of them.
    """

    module: fx.GraphModule | Record
    values: dict[fx.Node, Any] = field(default_factory=dict)
    ties: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    protections: list[tuple[Tensor, str, str]] = field(default_factory=list)
    param_axes: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)
    consumers: list[Consumer] = field(default_factory=list)
    remaps: list[Remap] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    attributes: dict[str, Tensor] = field(default_factory=dict)
    movers: set[fx.Node] = field(default_factory=set)
    pointwise: set[fx.Node] = field(default_factory=set)
    writing: list[fx.Node] = field(default_factory=list)
    count: int = 1
    pad_labels: list[Tensor] = field(default_factory=list)  # labels that pads of channels give, in order
    frees_created: bool = False  # channels of `torch.zeros(sizes)` may go
    created: list[Tensor] = field(default_factory=list)  # labels of those

    def __post_init__(self) -> None:
        nodes = [node for node in self.module.graph.nodes if node.op == "call_module"]
        model = self.module.model if isinstance(self.module, Record) else self.module
        layers = dict(named_modules(model, repeated=True)) if nodes else {}
        self.layers = {node: layers[str(node.target)] for node in nodes}
        self.names = TensorNames(model)
        self.static = static_nodes(self.module.graph.nodes)
        self.weights = ComputedWeights(self.module.graph.nodes, self.static, self.layers.values(), self.names)

    def beside(self, record: "Record") -> "Flow":
        """Return a flow over another record of the same network, with the same labels for the same parameters."""
        return Flow(
            record,
            ties=self.ties,
            protections=self.protections,
            param_axes=self.param_axes,
            outputs=self.outputs,
            attributes=self.attributes,
            count=self.count,
            frees_created=self.frees_created,
            created=self.created,
        )

    # --- what rules call -------------------------------------------------------------------------

    def fresh(self, size: int) -> Tensor:
        """Return ``size`` new labels."""
        self.count += size
        return torch.arange(self.count - size, self.count)

    def tie(self, a: Tensor, b: Tensor) -> None:
        """Tie labels of equal position (after broadcasting): they are kept or pruned together; 0 ties nothing."""
        if a is b:
            return
        left, right = a.numpy(), b.numpy()
        both = (left != right) & (left != 0) & (right != 0)
        if both.any():
            left, right = np.broadcast_to(left, both.shape)[both], np.broadcast_to(right, both.shape)[both]
            self.ties.append((torch.from_numpy(left), torch.from_numpy(right)))

    def protect(self, labels: Any, reason: str, node: fx.Node) -> None:
        """Protect labels: they are never pruned.

        Args:
            labels: a label tensor, or containers of such.
            reason: why, for the report.
            node: the node that needs them.
        """
        static = node in self.static and node.op == "call_function"
        reason, layer = named(self.module, node, reason, static=static)
        for tensor in tensors_in(labels):
            protected = torch.unique(lb.core(tensor))
            protected = protected[protected != 0]
            if len(protected):
                self.protections.append((protected, reason, layer or layer_name(node)))

    def stop(self, call: Call, reason: str) -> Any:
        """Protect everything that comes in; what goes out is constant as far as pruning is concerned."""
        self.protect([call.args, call.kwargs], reason, call.node)
        return lb.constants_like(call.value)

    def created_channels(self, value: Tensor) -> Tensor:
        """Return labels of a tensor that is created from sizes alone, all its channels alike."""
        if not self.frees_created or value.dim() < 2 or value.shape[1] < 2 or not value.is_floating_point():
            return lb.constants_like(value)
        self.created.append(self.fresh(value.shape[1]))
        return lb.spread(self.created[-1], 1, tuple(value.shape))

    def index_axis(self, name: str, axis: int, vector: Tensor, node: fx.Node) -> None:
        """Index ``axis`` of tensor ``name`` by ``vector``; a second use ties the two.

        Args:
            name: the tensor's name.
            axis: the axis that is indexed.
            vector: a label for each index along the axis.
            node: the node that uses the tensor.
        """
        for other in self.weights.partners.get(name, ()):
            tensor = self.names.tensors[other]
            if axis < tensor.dim() and tensor.shape[axis] == len(vector):
                self._index_axis(other, axis, vector, node)
        self._index_axis(name, axis, vector, node)

    def _index_axis(self, name: str, axis: int, vector: Tensor, node: fx.Node) -> None:
        known = self.param_axes.get((name, axis))
        if known is None:
            self.param_axes[name, axis] = vector
            return
        self.tie(known, vector)
        if ((known.numpy() == 0) != (vector.numpy() == 0)).any():
            self.protect(known + vector * (known == 0), "a parameter is shared with a constant input", node)
            self.param_axes[name, axis] = torch.where(known == 0, vector, known)

    def output_labels(self, name: str, axis: int, size: int) -> Tensor:
        """Return labels of the channels that parameter ``name`` makes along its ``axis``; the same on every use.

        Args:
            name: the parameter's name.
            axis: its output axis.
            size: its length along that axis.
        """
        self.outputs.setdefault(name, axis)
        if (name, axis) not in self.param_axes:
            self.param_axes[name, axis] = self.fresh(size)
            for other in self.weights.partners.get(name, ()):
                tensor = self.names.tensors[other]
                if axis < tensor.dim() and tensor.shape[axis] == size:
                    self.param_axes[other, axis] = self.param_axes[name, axis].clone()
        return self.param_axes[name, axis]

    def weight(self, call: Call, position: int, name: str) -> tuple[str | None, Tensor | None]:
        """Return name and value of a layer's tensor, from its module or a get_attr argument; else (None, None).

        Args:
            call: the layer's call.
            position: the tensor's position among a function's arguments.
            name: its attribute on the layer, and its keyword.
        """
        if call.module is not None:
            tensor = getattr(call.module, name, None)
            return (self.names.of(tensor), tensor) if isinstance(tensor, Tensor) else (None, None)
        node = call.argument_node(position, name)
        tensor_name = self.weights.elementwise.get(node) or self.names.read_by(node)
        return (tensor_name, node.meta[VALUE]) if tensor_name else (None, None)

    def read(self, call: Call, axis: int, weight: str | None) -> Tensor | None:
        """Return the label vector that a mixer reads along ``axis``; else protect the labels and return None.

        Args:
            call: the mixer's call.
            axis: the axis of its input that is read.
            weight: name of the parameter that reads it; None for another operation.
        """
        vector = lb.vector_along(call.x, axis)
        if vector is None:
            self.protect(call.x, "channels are mixed with positions here", call.node)
            return None
        self.consumers.append(Consumer(call.node, axis, vector, weight))
        return vector

    def cost(self, node: fx.Node, coefficient: float, *axes: Tensor) -> None:
        """Count ``coefficient`` x the kept lengths of ``axes`` FLOPs for ``node``."""
        self.costs.append(Cost(node, coefficient, axes))

    def cost_of_numel(self, node: fx.Node, labels: Tensor, scale: float) -> None:
        """Count ``scale`` FLOPs for each element of a tensor with these ``labels``.

        Args:
            node: the node that costs them.
            labels: labels of the tensor, in its shape.
            scale: FLOPs for each element.
        """
        small = lb.core(labels)
        axes, coefficient = [], scale
        for axis, size in enumerate(labels.shape):
            vector = lb.vector_along(labels, axis) if small.shape[axis] > 1 else None
            if vector is None:
                coefficient *= size
            else:
                axes.append(vector)
        self.cost(node, coefficient, *axes)
