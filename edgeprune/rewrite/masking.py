"""The masked network: the user's own, with dropped channels multiplied by zero wherever they are read."""

from collections import defaultdict
from typing import Any

import numpy as np
import torch
import torch.fx as fx
from torch import Tensor, nn

from edgeprune.graph.classes import Bools, Graph
from edgeprune.graph.flow import Consumer, Flow
from edgeprune.graph.labels import tensors_in
from edgeprune.graph.liveness import liveness_of
from edgeprune.graph.nodes import weight_node
from edgeprune.graph.ops import nodes_in, op_name
from edgeprune.graph.plan import Plan
from edgeprune.recording.opaque import Parts
from edgeprune.recording.record import Record
from edgeprune.recording.taps import Taps, run_tapped
from edgeprune.recording.values import tensors_of
from edgeprune.recording.walks import named_parameters
from edgeprune.rewrite.duplicate import duplicate
from edgeprune.rewrite.graph_rewriter import left_out


class Masked(nn.Module):
    """Runs ``network`` with masks at the calls that mix channels; what a cut network must agree with."""

    def __init__(self, network: nn.Module, graph: Graph, plan: Plan) -> None:
        super().__init__()
        self.network = network
        self.training = network.training
        self._taps = [masks(graph, flow, plan) for flow in graph.flows]

    def forward(self, *inputs: Any) -> Any:
        """Compute what the network computes without the dropped channels."""
        taps = self._taps[-1] if self.training else self._taps[0]
        return run_tapped(self.network, inputs, taps)


def parts_of(flow: Flow) -> Parts:
    """Return the modules that are kept whole in what a walk went over."""
    return flow.module.parts if isinstance(flow.module, Record) else {}


def masks(graph: Graph, flow: Flow, plan: Plan) -> Taps:
    """Return taps that zero dropped channels where they are read, and leave emptied branches out of sums.

    Args:
        graph: the network's graph, whose classes the plan keeps or drops.
        flow: the labels of the record that is to be masked.
        plan: which classes are kept.
    """
    taps = Taps(parts=parts_of(flow))
    for consumer in flow.consumers:
        classes = graph.classes_of(consumer.labels)
        alive = torch.from_numpy(np.append(plan.keep, True)[classes])  # class -1 stays
        if bool(alive.all()):
            continue
        view = [1] * flow.values[consumer.source].dim()
        view[consumer.axis] = -1
        taps.add_before(consumer.node, _Mask(alive.view(view)))
    if plan.bypass:
        for node, operand in left_out(flow, liveness_of(flow, graph.class_of, plan.keep)):
            taps.add_before(node, torch.zeros_like, _place(flow, node, operand))
    return taps


def masked_weights(graph: Graph, flow: Flow, plan: Plan) -> dict[str, Tensor] | None:
    """Return weights with zeros at dropped input channels, by parameter name: the same effect as masks.

    None where a call mixes channels by something else than a layer's own weight of one group.

    Args:
        graph: the network's graph, whose classes the plan keeps or drops.
        flow: the labels of the record that is to be masked.
        plan: which classes are kept.
    """
    if plan.bypass:
        return None
    columns: dict[str, tuple[int, Bools]] = {}
    stays = np.append(plan.keep, True)  # class -1 stays
    consumers = defaultdict(set)
    for consumer in flow.consumers:
        consumers[consumer.weight].add(consumer.node)
    for consumer in flow.consumers:
        alive = stays[graph.classes_of(consumer.labels)]
        axis = _reading_axis(flow, consumer, consumers[consumer.weight])
        if axis is None:
            if alive.all():
                continue
            return None
        known = columns.setdefault(consumer.weight, (axis, alive))  # type: ignore[arg-type]
        if known[0] != axis or not np.array_equal(known[1], alive):
            return None
    tensors = named_parameters(graph.model)
    weights = {}
    for name, (axis, alive) in columns.items():
        weight = tensors.get(name)
        if weight is None or weight.dim() <= axis or weight.shape[axis] != len(alive):
            return None
        if not alive.all():
            weights[name] = _emptied(weight.detach(), axis, torch.from_numpy(alive).to(weight.device))
    return weights


def _emptied(weight: Tensor, axis: int, alive: Tensor) -> Tensor:
    """Return a weight with zeros where an index along ``axis`` is not alive."""
    product = weight * alive.view([-1 if a == axis else 1 for a in range(weight.dim())])
    if bool(product.sum().isfinite()):
        return product
    return weight.index_fill(axis, (~alive).nonzero()[:, 0], 0.0)  # zero times infinity is no zero


def _reading_axis(flow: Flow, consumer: Consumer, consumers: set[fx.Node]) -> int | None:
    """Return the axis along which a layer's own weight reads channels, if only ``consumers`` use the weight."""
    node = consumer.node
    weight, name = weight_node(node), op_name(node)
    if (
        consumer.weight is None
        or flow.names.read_by(weight) != consumer.weight
        or consumer.weight in flow.weights.partners
    ):
        return None
    if not set(weight.users) <= consumers:
        return None
    if name == "linear":
        return 1
    groups = node.args[6] if len(node.args) > 6 else node.kwargs.get("groups", 1)
    return 1 if name in ("conv1d", "conv2d", "conv3d") and groups == 1 else None


class _Mask:
    def __init__(self, alive: Tensor) -> None:
        self.alive = alive

    def __call__(self, value: Tensor) -> Tensor:
        return value * self.alive.to(value)


def _place(flow: Flow, node: fx.Node, operand: fx.Node) -> int:
    """Return the place of an operand among the tensors of a call."""
    tensors = [
        n for n in nodes_in((node.args, node.kwargs)) if tensors_in(flow.values[n]) or n.op == "get_attr"
    ]
    return tensors.index(operand)


def mask(graph: Graph, plan: Plan) -> Masked:
    """Return a copy of the network in which dropped channels are multiplied by zero wherever they are read.

    With ``plan.bypass`` so is what emptied branches add. It has the sizes of the original.

    Raises:
        PlanError: ``plan`` was made for another network.
    """
    plan.check(graph)
    return Masked(duplicate(graph.model), graph, plan)


__all__ = ["Masked", "mask", "masks", "tensors_of"]
