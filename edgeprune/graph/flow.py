"""Walk a traced graph once with labels in place of numbers (design: the channel-label idea).

`Flow` holds what the rules write down: which labels are tied, which are protected and why, which
parameter axes belong to which label, who reads channels, and what each operation costs.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.fx as fx
from torch import Tensor, nn

from edgeprune.graph import labels as lb
from edgeprune.graph.computed import named
from edgeprune.graph.labels import tensors_in
from edgeprune.graph.ops import op_name, source_of, spec_of, title
from edgeprune.recording.opaque import OPAQUE, tensors_within
from edgeprune.recording.record import CALL, VALUE, WRITES, Record
from edgeprune.recording.walks import named_modules, named_tensors

Shape = tuple[int, ...]
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
class Call:
    """One node with its arguments replaced by label tensors."""

    node: fx.Node
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    module: nn.Module | None
    op: str

    @property
    def x(self) -> Any:
        """Return the labels of the first argument."""
        if self.args:
            return self.args[0]
        source = source_of(self.node)
        return next(v for k, v in self.kwargs.items() if self.node.kwargs[k] is source)

    @property
    def kind(self) -> str:
        """Return the class name of the layer, or the name of the operation."""
        return type(self.module).__name__ if self.module else self.op

    def get(self, position: int, name: str, default: Any = None) -> Any:
        """Return an argument by position or name.

        Args:
            position: its position among the call's arguments.
            name: its keyword.
            default: returned where the call does not have it.
        """
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)

    def option(self, position: int, name: str, default: Any = None) -> Any:
        """Return a layer's attribute, or a function's argument.

        Args:
            position: the argument's position in a function call.
            name: the attribute's name, and the argument's keyword.
            default: returned where neither exists.
        """
        return getattr(self.module, name, default) if self.module else self.get(position, name, default)

    def argument_node(self, position: int, name: str) -> Any:
        """Return the unevaluated argument: a node, or a constant."""
        arguments = self.node.args
        return arguments[position] if len(arguments) > position else self.node.kwargs.get(name)

    @property
    def value(self) -> Any:
        """Return the node's value on the example."""
        return self.node.meta[VALUE]

    @property
    def shape(self) -> Shape:
        """Shape of the node's (tensor) value."""
        return tuple(self.value.shape)


@dataclass
class Flow:
    """State of one walk; after `run` its fields are the result.

    ``static`` holds the nodes whose tensors do not depend on the input: only those can serve as indices.
    ``writing`` holds the in-place operations whose effect is seen through other views of the same memory.
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
    static: set[fx.Node] = field(default_factory=set)
    writing: list[fx.Node] = field(default_factory=list)
    count: int = 1
    knows: Callable[[str], bool] | None = None
    input_labels: dict[str, Any] = field(default_factory=dict)  # by placeholder
    pad_labels: list[Tensor] = field(default_factory=list)  # labels that pads of channels give, in order
    known: dict[fx.Node, Any] = field(default_factory=dict)  # labels of calls that are not looked into
    frees_created: bool = False  # channels of `torch.zeros(sizes)` may go
    created: list[Tensor] = field(default_factory=list)  # labels of those

    def __post_init__(self) -> None:
        nodes = [node for node in self.module.graph.nodes if node.op == "call_module"]
        model = self.module.model if isinstance(self.module, Record) else self.module
        layers = dict(named_modules(model, repeated=True)) if nodes else {}
        self.layers = {node: layers[str(node.target)] for node in nodes}
        self._canonical: dict[int, str] = {}
        self.aliases: dict[str, list[str]] = defaultdict(list)
        self._tensors = named_tensors(model, repeated=True)
        for name, tensor in self._tensors.items():
            first = self._canonical.setdefault(id(tensor), name)
            self.aliases[first].append(name)
        # Weights that are computed element by element go by the name of one of the tensors they are made of.
        self.elementwise: dict[Any, str] = {}
        self.partners: dict[str, list[str]] = {}
        self._planes: set[fx.Node] = set()
        self.computing: set[fx.Node] = set()  # calls that compute them

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
            knows=self.knows,
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

    def keep_whole(self) -> None:
        """Protect the weights of parts that are not looked into, also where other code uses them."""
        if not isinstance(self.module, Record):
            return
        for path, part in self.module.parts.items():
            inside = tensors_within(self.module.model, [path])
            names = {name for name, tensor in self._tensors.items() if id(tensor) in inside}
            held = [vector for (name, _), vector in self.param_axes.items() if name in names]
            held += [labels for name, labels in self.attributes.items() if name in names]
            for labels in held:
                used = torch.unique(lb.core(labels))
                if len(used := used[used != 0]):
                    self.protections.append((used, part.of(path), path))

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
        for other in self.partners.get(name, ()):
            tensor = self._tensors[other]
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
            for other in self.partners.get(name, ()):
                tensor = self._tensors[other]
                if axis < tensor.dim() and tensor.shape[axis] == size:
                    self.param_axes[other, axis] = self.param_axes[name, axis].clone()
        return self.param_axes[name, axis]

    def tensor_name(self, tensor: Any) -> str | None:
        """Canonical state-dict name of a parameter or buffer."""
        return None if tensor is None else self._canonical.get(id(tensor))

    def attribute(self, node: Any) -> str | None:
        """Canonical name of the tensor that a get_attr node reads."""
        if isinstance(node, fx.Node) and node.op == "get_attr":
            return self.tensor_name(node.meta[VALUE])
        return None

    def weight(self, call: Call, position: int, name: str) -> tuple[str | None, Tensor | None]:
        """Return name and value of a layer's tensor, from its module or a get_attr argument; else (None, None).

        Args:
            call: the layer's call.
            position: the tensor's position among a function's arguments.
            name: its attribute on the layer, and its keyword.
        """
        if call.module is not None:
            tensor = getattr(call.module, name, None)
            return (self.tensor_name(tensor), tensor) if isinstance(tensor, Tensor) else (None, None)
        node = call.argument_node(position, name)
        tensor_name = self.elementwise.get(node) or self.attribute(node)
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

    def has_rule(self, node: fx.Node) -> bool:
        """Tell whether a rule exists for the channels that reach ``node``."""
        return self.knows is None or node.op != "call_function" or self.knows(op_name(node))

    # --- the walk --------------------------------------------------------------------------------

    def run(self, apply_rule: "Callable[[Flow, Call], Any]") -> "Flow":
        """Visit every node in order; ``apply_rule`` gives the labels of a call's result."""
        self._find_static()
        compressed: set[int] = set()  # ids of what is among the values
        for node in self.module.graph.nodes:
            labels = self._step(node, apply_rule)
            if id(labels) not in compressed:
                labels = lb.compress(labels)
                compressed.add(id(labels))
            self.values[node] = labels
        return self

    def _step(self, node: fx.Node, apply_rule: "Callable[[Flow, Call], Any]") -> Any:
        if node.op == "placeholder":
            return (
                self.input_labels[str(node.target)]
                if self.input_labels
                else self._input(node, node.meta[VALUE])
            )
        if node.op == "get_attr":
            return self._get_attr(node)
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: self.values[n])
        if node.op == "output":
            if not self.input_labels:
                self.protect(args, OUTPUT, node)
            return None
        if node.op == "call_module" and not node.users:
            self.writing.append(node)  # it runs for what it does besides
        if node in self.known:
            return self.known[node]
        result = apply_rule(self, Call(node, args, kwargs, self.layers.get(node), ""))
        if WRITES in node.meta:
            self.writing.append(node)
            self._protect_views(node, result)
        return result

    def _protect_views(self, node: fx.Node, result: Any) -> None:
        """Tie what is written into memory with other names to its former content, so that these names stay valid.

        Only where constants were there do those names not know of the channels that have come.
        """
        before = self.values[node.meta[WRITES][-1]]
        if isinstance(result, Tensor) and isinstance(before, Tensor) and lb.matches(result, before):
            return
        for labels in (result, *(self.values[written] for written in node.meta[WRITES])):
            self.protect(labels, "a tensor is written into while other views of it are in use", node)

    def _input(self, node: fx.Node, value: Any) -> Any:
        if isinstance(value, (tuple, list, dict)):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            inside = {key: self._input(node, item) for key, item in items}
            return inside if isinstance(value, dict) else tuple(inside.values())
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
        if not isinstance(value, Tensor):
            return value
        users = [user for user in node.users if tensors_in(user.meta.get(VALUE)) or user.op == "output"]
        if users and all(is_weight_argument(user, node) for user in users) or node in self._planes:
            return None
        if name is None or not value.is_floating_point() or not any(self.has_rule(user) for user in users):
            return lb.constants_like(value)
        axis = self._computed_weight_axis(node)
        if axis is not None and name not in self.attributes:
            return lb.spread(self.output_labels(name, axis, value.shape[axis]), axis, tuple(value.shape))
        if name not in self.attributes:
            self.attributes[name] = self.fresh(value.numel()).view(value.shape)
        return self.attributes[name]

    def _computed_weight_axis(self, node: fx.Node) -> int | None:
        """Return the output axis of a parameter that is used only to compute weights of functional layers."""
        value, axes, seen, stack = node.meta[VALUE], set(), {node}, [node]
        if value.dim() < 2 or value.numel() == max(value.shape) or id(value) in self._in_layers:
            return None
        while stack:
            current = stack.pop()
            for user in current.users:
                if user.op != "output" and not tensors_in(user.meta[VALUE]):
                    continue
                axis = spec_of(user).output_axis
                if axis is not None and weight_node(user) is current:
                    axes.add(None if current is node else axis)
                elif user not in self.static:
                    return None
                elif user not in seen:
                    seen.add(user)
                    stack.append(user)
        return axes.pop() if len(axes) == 1 else None

    def _find_static(self) -> None:
        self._in_layers = {id(tensor) for layer in self.layers.values() for tensor in parameters_of(layer)}
        for node in self.module.graph.nodes:
            inputs = [n for n in node.all_input_nodes if tensors_in(n.meta[VALUE])]
            if node.op == "get_attr" or (
                node.op.startswith("call")
                and all(n in self.static for n in inputs)
                and op_name(node) != OPAQUE
            ):
                self.static.add(node)
        for node in self.module.graph.nodes:
            if spec_of(node).has_weights and node.op == "call_function":
                for argument in node.all_input_nodes:
                    computed = argument in self.static and argument.op != "get_attr"
                    if (
                        computed
                        and isinstance(argument.meta[VALUE], Tensor)
                        and is_weight_argument(node, argument)
                    ):
                        self._find_elementwise(argument)

    def _find_elementwise(self, weight: fx.Node) -> None:
        """Note a weight or bias that is computed element by element: a mask, a scale, another type."""
        if weight in self.elementwise:
            return
        chain, stack = {weight}, [weight]
        while stack:
            node = stack.pop()
            if not tensors_in(node.meta[VALUE]):
                continue
            if node.op != "get_attr" and not spec_of(node).computes_weights:
                return
            for source in node.all_input_nodes:
                if source not in chain:
                    chain.add(source)
                    stack.append(source)
        sources = [n for n in chain if n.op == "get_attr"]
        names = [self.attribute(n) for n in sources]
        shape = weight.meta[VALUE].shape
        users = {user for n in chain for user in n.users} - chain
        if (
            None in names
            or not all(tensors_in(n.meta[VALUE]) for n in chain)
            or not all(is_weight_argument(user, n) for n in chain for user in n.users if user in users)
            or not all(n.meta[VALUE].dim() in (0, len(shape)) for n in chain)
        ):
            return
        full_size = [
            str(name) for n, name in zip(sources, names, strict=True) if n.meta[VALUE].shape == shape
        ]
        parameters = [name for name in full_size if isinstance(self._tensors[name], nn.Parameter)]
        if not parameters:
            return
        self.elementwise[weight] = parameters[0]
        partners = self.partners.setdefault(parameters[0], [])
        partners += [str(name) for name in names if name != parameters[0] and name not in partners]
        self._planes |= {n for n in chain if n.op == "get_attr"}
        self.computing |= chain - self._planes


def parameters_of(layer: nn.Module) -> list[nn.Parameter]:
    """Return all parameters of a layer; quick for one without layers inside."""
    if layer._modules:
        return list(layer.parameters())
    return [parameter for parameter in layer._parameters.values() if parameter is not None]


def is_weight_argument(user: fx.Node, node: fx.Node) -> bool:
    """Tell whether ``user`` is a functional layer with ``node`` as its weight, bias or statistic."""
    if user.op != "call_function" and op_name(user) != "matmul":
        return False
    if op_name(user) == "matmul":
        return is_linear_product(user) and source_of(user) is not node
    return spec_of(user).has_weights and source_of(user) is not node


def weight_node(node: fx.Node) -> Any:
    """Return the unevaluated weight of a functional layer."""
    return node.args[1] if len(node.args) > 1 else node.kwargs.get("weight")


def is_linear_product(node: fx.Node) -> bool:
    """Tell whether a matrix product is ``x @ W`` with a parameter or buffer W of two axes."""
    arguments = node.all_input_nodes
    if len(arguments) != 2 or arguments[1].op != "get_attr" or source_of(node) is not arguments[0]:
        return False
    value = arguments[1].meta[VALUE]
    return isinstance(value, Tensor) and value.dim() == 2 and arguments[0].op != "get_attr"


def layer_name(node: fx.Node) -> str:
    """Return a readable name of a node: the module's path, or the operation's name."""
    site = node.meta.get(CALL)
    if site is not None and site.in_layer and site.path:
        return site.path
    return str(node.target) if node.op in ("call_module", "get_attr", "placeholder") else node.name


def reason_unknown(call: Call) -> str:
    """Say why a call without a rule protects what reaches it."""
    return f"no rule for {type(call.module).__name__ if call.module else title(call.node)}"
