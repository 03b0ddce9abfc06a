"""Classes of coupled channels: what one keep-or-drop decision takes with it, and what it saves."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.fx as fx
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeprune.errors import PlanError, TraceError
from edgeprune.graph import labels as lb
from edgeprune.graph.attributes import join_layers, keep_parts, settle, unused_parts
from edgeprune.graph.computed import quantised_parts
from edgeprune.graph.cost import Bools, ByWidths, CostModel, IncrementalCost, Ints
from edgeprune.graph.flow import OUTPUT, Flow
from edgeprune.graph.gc_pause import gc_paused
from edgeprune.graph.groups import (
    ChannelGroup,
    Protected,
    classes_of_components,
    components_of,
    groups_of,
    protected_layers,
)
from edgeprune.graph.liveness import liveness_of
from edgeprune.graph.memory import BYTES
from edgeprune.graph.ops import spec_of
from edgeprune.graph.pieces import TiedGroups, tied_groups
from edgeprune.graph.rules import apply_rule, has_rule
from edgeprune.graph.walk import Walk
from edgeprune.recording.network import watch
from edgeprune.recording.opaque import CHOSEN, FLOPS, Opaque, Parts, chosen_parts, outermost
from edgeprune.recording.record import CALL, VALUE, Record
from edgeprune.recording.values import tensors_of
from edgeprune.recording.walks import named_modules

__all__ = [
    "Bools",
    "ChannelGroup",
    "Graph",
    "Ints",
    "Protected",
    "build_graph",
    "example_shapes",
    "parts_kept",
]


@dataclass(repr=False)
class Graph:
    """A traced model with its classes of coupled channels.

    ``param_axes[(tensor, axis)][i]`` is the class of index i along that axis, or -1 where it always stays.
    FLOPs are multiply-adds as fvcore counts them, for the example input, batch included. ``notes`` names
    the parts of the model that its forward does not use in eval mode, and that are not in ``module``.
    ``ignore`` is what was asked to be left alone, and ``shapes`` are those of all tensors of the model.
    """

    module: fx.GraphModule | Record
    flow: Flow
    inputs: tuple[Any, ...]
    class_of: Ints
    param_axes: dict[tuple[str, int], Ints]
    groups: list[ChannelGroup]
    protected: list[Protected]
    notes: tuple[str, ...] = ()
    training_flow: Flow | None = None
    ignore: tuple[str, ...] = ()
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return (
            f"Graph of {type(self.model).__name__}, units of coupled channels: {self.classes}, "
            f"groups: {len(self.groups)}, protected parts: {len(self.protected)}"
        )

    @property
    def model(self) -> nn.Module:
        """The user's own network."""
        return self.module.model if isinstance(self.module, Record) else self.module

    @property
    def nodes(self) -> list[fx.Node]:
        """The recorded calls in evaluation mode, with the inputs, parameters and constants they read."""
        return list(self.module.graph.nodes)

    @property
    def flows(self) -> list[Flow]:
        """The walks over the record of each mode: one where both modes do the same."""
        return [self.flow] if self.training_flow is None else [self.flow, self.training_flow]

    @property
    def parts(self) -> dict[str, Opaque]:
        """Return the modules that are kept whole."""
        records = [flow.module for flow in self.flows if isinstance(flow.module, Record)]
        return {path: part for record in records for path, part in record.parts.items()}

    @property
    def chosen(self) -> tuple[str, ...]:
        """Return the modules that were asked to be kept whole."""
        return tuple(path for path, part in self.parts.items() if part.reason == CHOSEN)

    @property
    def classes(self) -> int:
        """How many decisions there are."""
        return int(self.class_of.max(initial=-1)) + 1

    @property
    def why_protected(self) -> str:
        """Say why most of the channels that stay do so, to end a sentence with; '' where that is the output alone."""
        channels: dict[str, int] = defaultdict(int)
        for protected in self.protected:
            channels[protected.reason] += protected.channels
        channels.pop(OUTPUT, None)
        reasons = [*quantised_parts(self.model), *sorted(channels, key=lambda reason: -channels[reason])]
        return f" ({reasons[0]})" if reasons else ""

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the structure: a keep-plan made for one graph fits another with the same."""
        digest = hashlib.sha256()
        for (name, axis), vector in sorted(self.param_axes.items()):
            digest.update(f"{name}/{axis}/".encode() + vector.astype("<i8").tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def group_of(self) -> Ints:
        """Group index of each class."""
        out = np.full(self.classes, -1, dtype=np.int64)
        for group in self.groups:
            out[group.classes] = group.index
        return out

    @cached_property
    def tied_groups(self) -> list[TiedGroups]:
        """All groups, those as one whose widths are one decision: see `edgeprune.graph.pieces`."""
        return tied_groups(self.groups, self.flows, self.class_of)

    @cached_property
    def _cost(self) -> CostModel:
        return self._cost_model(memory=False)

    @cached_property
    def _cost_with_memory(self) -> CostModel:
        return self._cost_model(memory=True)

    def _cost_model(self, *, memory: bool) -> CostModel:
        return CostModel.build(
            self.module, self.flow, self.param_axes, self.class_of, self.classes, memory=memory
        )

    def _cost_of(self, kinds: Iterable[str]) -> CostModel:
        """Return what reckons these costs; memory takes some work, and few ask for it."""
        return self._cost_with_memory if "memory" in kinds else self._cost

    def _total(self, kind: str, keep: Bools | None) -> int:
        checked = self.checked(keep)
        if keep is None:
            return round(self._cost_of([kind]).everything(kind))
        nonempty_total = self._cost_of([kind]).nonempty_total(kind, checked)
        if nonempty_total is not None:
            return round(nonempty_total)
        liveness = liveness_of(self.flow, self.class_of, np.asarray(keep, dtype=bool))
        constants = sum(liveness.widths.values()) * {"params": 1, "flops": 0, "memory": BYTES}[kind]
        return round(self._cost_of([kind]).total(kind, checked, liveness.working)) + constants

    def params(self, keep: Bools | None = None) -> int:
        """Count parameters (not buffers) when ``keep[class]`` channels stay."""
        return self._total("params", keep)

    def flops(self, keep: Bools | None = None) -> int:
        """Count FLOPs when ``keep[class]`` channels stay."""
        return self._total("flops", keep)

    def memory(self, keep: Bools | None = None) -> int:
        """Return the peak bytes of weights and live activations in float32.

        For the example's batch. The runtime is assumed to fuse operations and to overwrite activations where it can;
        see `edgeprune.graph.memory`. A measurement also includes the runtime itself.
        """
        return self._total("memory", keep)

    def incremental_cost(self, kinds: Iterable[str], keep: Bools) -> IncrementalCost:
        """Return the running costs ('flops', 'params', 'memory') of a keep-set that grows from ``keep``."""
        kinds = tuple(kinds)
        return IncrementalCost(self._cost_of(kinds), kinds, self.checked(keep))

    def by_widths(self, kind: str) -> ByWidths:
        """Return one cost as a function of the groups' widths; savings by emptied groups are not included."""
        return self._cost_of([kind]).by_widths(kind, self.group_of)

    def marginal_flops(self, keep: Bools | None = None) -> NDArray[np.float64]:
        """Return d FLOPs / d class at ``keep``: what one class saves, first order."""
        return self._cost.gradient(self.checked(keep), "flops")

    def marginal_params(self, keep: Bools | None = None) -> NDArray[np.float64]:
        """Return d parameters / d class at ``keep``."""
        return self._cost.gradient(self.checked(keep), "params")

    def node_flops(self, keep: Bools | None = None) -> dict[str, float]:
        """Return FLOPs by layer name."""
        return self._cost.by_node(self.checked(keep))

    def checked(self, keep: Bools | None) -> NDArray[np.float64]:
        """Return ``keep`` as floats; all ones when None. Raises PlanError on another length."""
        if keep is None:
            return np.ones(self.classes)
        if len(keep) != self.classes:
            raise PlanError(
                f"this plan has {len(keep)} classes, the model {self.classes}: it is another model's plan"
            )
        return np.asarray(keep, dtype=np.float64)

    def labels(self, node: fx.Node) -> object:
        """Label tensor(s) of a node."""
        return self.flow.values[node]

    def flow_of(self, record: Record) -> Flow:
        """Return the flow over one of the records."""
        return next(flow for flow in self.flows if flow.module is record)

    def inputs_of(self, record: Record) -> tuple[Any, ...]:
        """Return the inputs that a record was made on: the example, or twice its batch."""
        first = next(n for n in record.graph.nodes if n.op == "placeholder").meta[VALUE]
        example = tensors_of(self.inputs)[0]
        return self.inputs if first.shape == example.shape else _twice(self.inputs)

    def classes_of(self, vector: Tensor) -> Ints:
        """Return the class of each label of a vector, -1 where it is always kept."""
        return self.class_of[vector.numpy()]


@gc_paused
def build_graph(
    model: nn.Module,
    inputs: Tensor | tuple[Any, ...] | dict[str, Any],
    ignore: Iterable[str] = (),
    opaque: Iterable[str | type] = (),
) -> Graph:
    """Watch ``model`` run on ``inputs`` and find its classes of coupled channels.

    Args:
        model: any module; it is run, and not changed.
        inputs: one example tensor, or a tuple with one for each argument of forward.
        ignore: names (or prefixes) of layers whose output channels must all stay.
        opaque: modules to keep whole, by name, class or name of a class: they are not looked into, and what
            enters and leaves them stays.

    Raises:
        TraceError: the model does not run on ``inputs``, or has no such parts.
    """
    inputs = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    ignore = tuple(ignore)
    record, training_record, notes = _records(model, inputs, chosen_parts(model, opaque))
    records = [record] if training_record is None else [record, training_record]
    notes += (*quantised_parts(model), *unused_parts(model, records))
    graph = _labelled(record, training_record, inputs, ignore, frees_created=False)
    if _starves(graph.flow) or any(_fills(flow) for flow in graph.flows):
        other = _labelled(record, training_record, inputs, ignore, frees_created=True)
        if other.classes > graph.classes or (other.classes == graph.classes and not _starves(graph.flow)):
            graph = other
    return replace(graph, notes=(*parts_kept(graph), *notes), ignore=ignore, shapes=shapes_of(model))


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor that a state_dict has, under all its names; of lazy ones none yet."""
    shapes = {}
    for path, module in named_modules(model, repeated=True):
        for name, tensor in {**module._parameters, **module._buffers}.items():
            passing = name in module._non_persistent_buffers_set
            if isinstance(tensor, Tensor) and not passing and not nn.parameter.is_lazy(tensor):
                shapes[f"{path}.{name}" if path else name] = tuple(tensor.shape)
    return shapes


def _records(
    model: nn.Module, inputs: tuple[Any, ...], parts: Parts
) -> tuple[Record, Record | None, tuple[str, ...]]:
    """Record what the network does in each mode where they differ, with the same parts kept whole in both."""
    record = watch(model, inputs, parts=parts)
    if not record.reads_mode:
        return record, None, ()
    training_record, notes = _training_record(model, inputs, record)
    if training_record is not None and training_record.parts != record.parts:
        return _records(model, inputs, training_record.parts)
    if training_record is not None and training_record.signature == record.signature:
        training_record = None
    return record, training_record, notes


def parts_kept(graph: Graph) -> tuple[str, ...]:
    """Return notes on the parts that are kept whole."""
    nodes = [n for flow in graph.flows for n in flow.module.graph.nodes if FLOPS in n.meta]
    uncounted = {n.meta[CALL].path for n in nodes if n.meta[FLOPS] is None}
    return tuple(
        f"{part.of(path)}" + ("; its FLOPs are not counted" if path in uncounted else "")
        for path, part in outermost(graph.parts).items()
    )


def _labelled(
    record: Record,
    training_record: Record | None,
    inputs: tuple[Any, ...],
    ignore: tuple[str, ...],
    *,
    frees_created: bool,
) -> Graph:
    """Make the graph from the labels of one or both modes."""
    flow = Walk(Flow(record, frees_created=frees_created), apply_rule, knows=has_rule).run()
    training_flow = None
    if training_record is not None:
        training_flow = Walk(flow.beside(training_record), apply_rule, knows=has_rule).run()
        flow.count = training_flow.count
        keep_parts(training_flow)
    keep_parts(flow)
    _ignore(flow, ignore)
    join_layers(flow)
    component = components_of(flow)
    settle(flow, component)
    class_of, component_class = classes_of_components(flow, component)
    # A norm has several vectors with the same labels.
    classes = {id(vector): class_of[vector.numpy()] for vector in flow.param_axes.values()}
    param_axes = {key: classes[id(vector)] for key, vector in flow.param_axes.items()}
    groups = groups_of(flow, param_axes, int(class_of.max(initial=-1)) + 1)
    protected = protected_layers(flow, component)
    return Graph(record, flow, inputs, class_of, param_axes, groups, protected, (), training_flow)


def _starves(flow: Flow) -> bool:
    """Tell whether channels are protected since they meet constants that the network makes from sizes."""
    return any(spec_of(node).creates for node in flow.module.graph.nodes) and any(
        "constant" in reason or "written into" in reason for _, reason, _ in flow.protections
    )


def _fills(flow: Flow) -> bool:
    """Tell whether channels are assigned into a tensor that the network makes from sizes: its width follows theirs."""
    return any(
        spec_of(node).name == "setitem"
        and isinstance(node.args[0], fx.Node)
        and spec_of(node.args[0]).creates
        and not lb.matches(flow.values[node], flow.values[node.args[0]])
        for node in flow.module.graph.nodes
    )


def _training_record(
    model: nn.Module, inputs: tuple[Any, ...], record: Record
) -> tuple[Record | None, tuple[str, ...]]:
    """Record what the network does in training; None where it does not run in that mode."""
    try:
        other = watch(model, inputs, training=True, parts=record.parts)
    except TraceError as first:
        try:  # BatchNorm after a global pooling wants more than one value for each channel
            other = watch(model, _twice(inputs), training=True, parts=record.parts)
        except TraceError:
            return None, (f"the training mode was not watched: {first}",)
    return other, ()


def _twice(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(torch.cat([t, t]) if isinstance(t, Tensor) and t.dim() else t for t in inputs)


def _ignore(flow: Flow, names: tuple[str, ...]) -> None:
    nodes = [n for n in flow.module.graph.nodes if n.op == "call_module"]
    first = next(iter(flow.module.graph.nodes))
    layers = {str(n.target): (flow.values[n], n) for n in nodes}
    layers.update({key[0].rsplit(".", 1)[0]: (flow.param_axes[key], first) for key in flow.outputs.items()})
    for name in names:
        inside = [layer for layer in layers if layer == name or layer.startswith(name + ".")]
        if not inside:
            raise TraceError(f"no layer {name!r} to ignore; layers are {', '.join([*layers][:12])}, ...")
        for layer in inside:
            flow.protect(layers[layer][0], "on the ignore list", layers[layer][1])


def example_shapes(graph: Graph) -> list[tuple[int, ...]]:
    """Return the shapes of the inputs the graph was traced on."""
    return [tuple(n.meta[VALUE].shape) for n in graph.module.graph.nodes if n.op == "placeholder"]
