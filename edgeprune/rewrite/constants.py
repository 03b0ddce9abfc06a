"""The value of each channel of an emptied branch, computed once and read as a parameter."""

import operator
from typing import Any

import torch
import torch.fx as fx
from torch import Tensor, nn

from edgeprune.graph import labels as lb
from edgeprune.graph.flow import Consumer
from edgeprune.graph.labels import tensors_in
from edgeprune.graph.liveness import is_noise
from edgeprune.graph.ops import op_name
from edgeprune.recording.record import VALUE
from edgeprune.rewrite.context import RewriteContext


class Constants:
    """Values have length 1 along every axis that is alike everywhere."""

    def __init__(self, context: RewriteContext) -> None:
        self.flow, self.liveness, self.survivors = context.flow, context.liveness, context.survivors
        self.context, self.editor = context, context.editor
        self._consumers: dict[fx.Node, Consumer] = {
            consumer.node: consumer for consumer in context.flow.consumers
        }
        self._values: dict[fx.Node, Tensor] = {}
        self._read: dict[fx.Node, str] = {}

    def node(self, operand: fx.Node) -> fx.Node:
        """Read the constant that stands for ``operand``; zero by structure is no parameter."""
        if operand not in self._read:
            name = f"{self.editor.new[operand].name}_constant"
            make = self.editor.buffer if self.liveness.constant[operand] else self.editor.parameter
            self._read[operand] = str(make(name, self.value(operand)).target)
        return self.editor.graph.get_attr(self._read[operand])

    def value(self, node: fx.Node) -> Tensor:
        """Return the value of ``node`` in each channel."""
        if node not in self._values:
            with torch.no_grad():
                self._values[node] = self._compute(node)
        return self._values[node]

    def _compute(self, node: fx.Node) -> Tensor:
        shape = tuple(lb.core(self.survivors.of(self.flow.values[node])).shape)
        if self.liveness.constant[node]:
            return self.editor.zeros(shape)
        consumer = self._consumers.get(node)
        if consumer is not None and (
            not self._alive(consumer) or self.liveness.constant.get(consumer.source, False)
        ):
            return self._bias(node).detach().reshape(shape)
        if node.op == "call_module":
            return self._layer(node, self.value(node.all_input_nodes[0]))
        if op_name(node) in ("mean", "amax") or op_name(node).startswith("adaptive_"):
            return self.value(node.all_input_nodes[0])
        if op_name(node) in ("mul", "div") and any(is_noise(n) for n in node.all_input_nodes):
            return self.value(next(n for n in node.all_input_nodes if not is_noise(n)))
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: self._argument(node, n))
        if node.op == "call_method":
            return getattr(args[0], str(node.target).rstrip("_"))(*args[1:], **kwargs)
        return out_of_place(node.target)(*args, **kwargs)

    def _alive(self, consumer: Consumer) -> bool:
        return bool(self.survivors.kept(consumer.labels).any())

    def _argument(self, node: fx.Node, argument: fx.Node) -> Any:
        if argument in self.liveness.constant:
            return self.value(argument)
        if argument.op != "get_attr":
            return argument.meta[VALUE]
        value: Any = self.editor.root
        for part in str(argument.target).split("."):
            value = getattr(value, part)
        if node in self.flow.pointwise and tensors_in(value):
            for axis, positions, _ in self.context.selections(node, argument):
                value = value.index_select(axis, positions.to(value.device))
        return value

    def _layer(self, node: fx.Node, value: Tensor) -> Tensor:
        layer = self.editor.root.get_submodule(str(node.target))
        if isinstance(layer, (nn.modules.pooling._AdaptiveAvgPoolNd, nn.modules.pooling._AdaptiveMaxPoolNd)):
            return value
        mode = layer.training
        try:
            return layer.eval()(value.clone())
        finally:
            layer.train(mode)

    def _bias(self, node: fx.Node) -> Tensor:
        if node.op == "call_module":
            return self.editor.root.get_submodule(str(node.target)).bias  # type: ignore[return-value]
        bias: Any = node.args[2] if len(node.args) > 2 else node.kwargs["bias"]
        return self._argument(node, bias)


def out_of_place(function: Any) -> Any:
    """Return the out-of-place form: operator.add for operator.iadd, torch.relu for torch.relu_."""
    name = getattr(function, "__name__", "")
    plain = None
    if getattr(operator, name, None) is function:
        plain = getattr(operator, name[1:], getattr(operator, f"{name[1:]}_", None))
    if name.startswith("i") and plain is not None:
        return plain
    return getattr(torch, name[:-1], function) if name.endswith("_") else function
