"""Liveness of each operation when channels are pruned: it is computed, empty, or a constant.

A layer that reads nothing any more gives its bias everywhere; what elementwise operations make of that is a
constant too. So a residual block without inner channels is one constant for each channel, or nothing at all.
This looks at labels and structure only, never at the values of weights.
"""

from dataclasses import dataclass, field

import numpy as np
import torch.fx as fx
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeprune.graph import labels as lb
from edgeprune.graph.flow import Consumer, Flow
from edgeprune.graph.labels import tensors_in
from edgeprune.graph.nodes import weight_node
from edgeprune.graph.ops import OpSpec, op_name, spec_of
from edgeprune.recording.record import VALUE

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass
class Liveness:
    """``constant[node]`` says whether it is zero by structure. ``working`` nodes stay in the dense model.

    ``widths`` are the sizes of the constants that working nodes read; ``blocked`` names the operations that
    cannot do without channels, with a class each that has to be given back.
    """

    empty: set[fx.Node] = field(default_factory=set)
    constant: dict[fx.Node, bool] = field(default_factory=dict)
    working: set[fx.Node] = field(default_factory=set)
    widths: dict[fx.Node, int] = field(default_factory=dict)
    blocked: list[tuple[fx.Node, int]] = field(default_factory=list)

    def gone(self, node: fx.Node) -> bool:
        """Tell whether the node is no longer computed."""
        return node in self.empty or node in self.constant


def liveness_of(flow: Flow, class_of: Ints, keep: Bools) -> Liveness:
    """Follow the channels that ``keep`` leaves through the graph.

    Args:
        flow: the labels of the network's tensors.
        class_of: class of each label, -1 where it is always kept.
        keep: flag of each class.
    """
    return _LivenessAnalysis(flow, class_of, keep).run()


class _LivenessAnalysis:
    def __init__(self, flow: Flow, class_of: Ints, keep: Bools) -> None:
        self.flow, self.class_of = flow, class_of
        self.alive = np.concatenate([keep, [True]])[class_of]  # by label; class -1 stays
        self.consumers: dict[fx.Node, Consumer] = {consumer.node: consumer for consumer in flow.consumers}
        self.liveness = Liveness()
        self._known: dict[int, bool] = {}  # by the ids of label tensors, which the walk keeps

    def run(self) -> Liveness:
        for node in self.flow.module.graph.nodes:
            if node.op in ("placeholder", "output") or not tensors_in(self.flow.values[node]):
                continue
            if not any(self._any_alive(t) for t in tensors_in(self.flow.values[node])):
                self.liveness.empty.add(node)
            elif node.op != "get_attr":
                self._constant(node)
        self._work_back()
        return self.liveness

    def _any_alive(self, labels: Tensor) -> bool:
        known = self._known.get(id(labels))
        if known is None:
            small = lb.core(labels).numpy()
            known = self._known[id(labels)] = small.size == 0 or bool(self.alive[small].any())
        return known

    # --- constants -------------------------------------------------------------------------------

    def _constant(self, node: fx.Node) -> None:
        constant, consumer = self.liveness.constant, self.consumers.get(node)
        inputs = [n for n in node.all_input_nodes if n.op != "get_attr" and tensors_in(self.flow.values[n])]
        if op_name(node) in ("mul", "div"):
            inputs = [n for n in inputs if not is_noise(n)]
        if consumer is not None and consumer.weight is not None:
            if not self._any_alive(consumer.labels) or constant.get(consumer.source, False):
                constant[node] = not self._has_bias(node)
            elif consumer.source in constant and self._is_pointlike(node):
                constant[node] = False
        elif op_name(node) == "mul" and any(constant.get(n, False) for n in inputs):
            constant[node] = True
        elif inputs and all(n in constant for n in inputs) and self._folds(node):
            constant[node] = self._stays_zero(node) and all(constant[n] for n in inputs)

    def _has_bias(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return getattr(self.flow.layers[node], "bias", None) is not None
        if op_name(node) == "matmul":
            return False
        return (node.args[2] if len(node.args) > 2 else node.kwargs.get("bias")) is not None

    def _is_pointlike(self, node: fx.Node) -> bool:
        """Tell whether a mixer looks at one position at a time."""
        if node.op != "call_module":
            return op_name(node) in ("linear", "matmul") or _is_pointwise_convolution(node)
        layer = self.flow.layers[node]
        if isinstance(layer, nn.modules.conv._ConvNd):
            flat = layer.padding in ("valid", "same") or not any(layer.padding)
            return flat and set(layer.kernel_size) == {1} and not layer.transposed
        return isinstance(layer, nn.Linear)

    def _folds(self, node: fx.Node) -> bool:
        """Tell whether the operation makes of a constant in each channel another such constant."""
        if node in self.flow.pointwise:
            return all(self._is_thin(node, n) for n in node.all_input_nodes if n.op == "get_attr")
        name = op_name(node)
        keeps = name in ("mean", "amax") and node not in self.consumers and self._same_axes(node)
        return keeps or self._spec(node).folds

    def _same_axes(self, node: fx.Node) -> bool:
        source = node.all_input_nodes[0]
        return bool(self.flow.values[node].dim() == self.flow.values[source].dim())

    def _is_thin(self, node: fx.Node, operand: fx.Node) -> bool:
        """Tell whether a parameter has no more than one value for each channel."""
        labels, value = self.flow.values[node], operand.meta[VALUE]
        lead = labels.dim() - value.dim()
        small = lb.core(labels)
        return all(size == 1 or small.shape[axis + lead] > 1 for axis, size in enumerate(value.shape))

    def _stays_zero(self, node: fx.Node) -> bool:
        tensors = [n for n in node.all_input_nodes if tensors_in(n.meta[VALUE])]
        if op_name(node) in ("add", "sub"):
            return len(tensors) == 2 and all(n.op != "get_attr" for n in tensors)
        return self._spec(node).keeps_zero or op_name(node) == "mul"

    def _spec(self, node: fx.Node) -> OpSpec:
        return spec_of(node, self.flow.layers.get(node))

    # --- what still works ------------------------------------------------------------------------

    def _work_back(self) -> None:
        stack = [
            n for n in self.flow.module.graph.nodes if n.op in ("output", "placeholder")
        ] + self.flow.writing
        self.liveness.working.update(stack)
        while stack:
            node = stack.pop()
            for source in node.all_input_nodes:
                if self.liveness.gone(source):
                    self._take(node, source)
                elif source not in self.liveness.working:
                    self.liveness.working.add(source)
                    stack.append(source)

    def _take(self, node: fx.Node, source: fx.Node) -> None:
        """Note what a working node reads of a dropped source, or that it is blocked."""
        if source in self.liveness.empty and (op_name(node) == "cat" or _is_assigned(node, source)):
            return
        if source in self.liveness.constant and self._carried(node):
            if not self.liveness.constant[source]:
                labels = lb.core(self.flow.values[source]).numpy()
                self.liveness.widths[source] = int(self.alive[labels].sum())
            return
        self.liveness.blocked.append((node, self._back(source)))

    def _carried(self, node: fx.Node) -> bool:
        """Tell whether another operand gives the result its shape: a constant has length 1 where it is alike."""
        others = [n for n in node.all_input_nodes if not self.liveness.gone(n) and n not in self.flow.static]
        shapes = [n.meta[VALUE].shape for n in others if tensors_in(n.meta[VALUE])]
        return node in self.flow.pointwise and node.meta[VALUE].shape in shapes

    def _back(self, node: fx.Node) -> int:
        """Return a dropped class without which ``node`` is not computed."""
        if node in self.liveness.empty:
            labels = np.concatenate(
                [lb.core(t).numpy().reshape(-1) for t in tensors_in(self.flow.values[node])]
            )
            return int(self.class_of[labels][0])
        consumer = self.consumers.get(node)
        if consumer is not None and not self._any_alive(consumer.labels):
            return int(self.class_of[consumer.labels.numpy()][0])
        return self._back(next(n for n in node.all_input_nodes if n in self.liveness.constant))


def _is_assigned(node: fx.Node, source: fx.Node) -> bool:
    """Tell whether ``source`` is what an assignment writes, and nothing else: y[:, a:b] = source."""
    return op_name(node) == "setitem" and node.args[2] is source and node.args[0] is not source


def is_noise(node: fx.Node) -> bool:
    """Tell whether a tensor is random numbers alone: the factor of a hand-written drop-path."""
    stack, draws = [node], False
    while stack:
        current = stack.pop()
        spec = spec_of(current)
        draws = draws or spec.random
        if spec.creates or spec.name == "rand_like":
            continue
        if not spec.elementwise:
            return False
        stack += [n for n in current.all_input_nodes if tensors_in(n.meta[VALUE])]
    return draws


def _is_pointwise_convolution(node: fx.Node) -> bool:
    """Tell whether a functional convolution has a 1x1 kernel and no padding."""
    name = op_name(node)
    if not name.startswith("conv") or "transpose" in name:
        return False
    padding = node.args[4] if len(node.args) > 4 else node.kwargs.get("padding", 0)
    flat = padding in ("valid", "same") or not any(
        padding if isinstance(padding, (tuple, list)) else (padding,)
    )
    return flat and set(weight_node(node).meta[VALUE].shape[2:]) == {1}
