"""The weights of each channel: in the layer that writes it, and in those that read it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.fx as fx
from torch import Tensor

from edgeprune.graph.classes import Graph, Ints
from edgeprune.graph.flow import Consumer
from edgeprune.graph.nodes import weight_node
from edgeprune.recording.record import VALUE
from edgeprune.recording.walks import named_parameters

_MANY = 1 << 20  # weights of a layer


@dataclass(frozen=True)
class Filters:
    """Weights of one layer, channel by channel.

    ``stored`` is (channels, kernel positions, channels of the other side), in the model's type, on the CPU;
    ``classes[i]`` is the class of channel i, -1 if it is protected; ``name`` is the parameter's.
    """

    name: str
    stored: Tensor
    classes: Ints

    @property
    def layer(self) -> str:
        """Name of the layer."""
        return self.name.rsplit(".", 1)[0]

    @property
    def weights(self) -> Tensor:
        """``stored`` in float64."""
        return self.stored.double()

    def norms(self, order: float) -> Tensor:
        """Return the (channels,) norms in float64, without a copy of many weights."""
        if order == 1 and self.stored.numel() < _MANY:  # the same numbers, in less time
            return self.stored.double().abs_().sum((1, 2))
        return torch.linalg.vector_norm(self.stored, order, dim=(1, 2), dtype=torch.float64)

    @property
    def flat(self) -> Tensor:
        """(channels, weights of a channel)."""
        return self.weights.reshape(len(self.stored), -1)


def named_tensor(graph: Graph, name: str) -> Tensor:
    """Return the model's parameter or buffer of that name."""
    path, _, leaf = name.rpartition(".")
    tensor: Tensor = getattr(graph.model.get_submodule(path), leaf)
    return tensor


def weight_of(graph: Graph, consumer: Consumer) -> Tensor | None:
    """Return the current weight of a layer: a parameter, or computed from parameters; None if the input decides it."""
    node = weight_node(consumer.node)
    return _static_value(graph, node).detach() if node in graph.flow.static else None


def has_own_weight(graph: Graph, consumer: Consumer) -> bool:
    """Return whether a layer's weight is a parameter or buffer itself, not computed from one."""
    return (
        consumer.weight is not None
        and graph.flow.names.read_by(weight_node(consumer.node)) == consumer.weight
    )


def _static_value(graph: Graph, node: fx.Node) -> Any:
    """Return the value of a recorded call that does not depend on the input."""
    if node.op == "get_attr":
        name = graph.flow.names.read_by(node)
        return node.meta[VALUE] if name is None else named_tensor(graph, name)
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: _static_value(graph, n))
    return node.target(*args, **kwargs)  # type: ignore[operator]


def written_filters(graph: Graph) -> list[Filters]:
    """Return the filters of each layer that writes channels."""
    tensors = named_parameters(graph.model)
    return [
        Filters(name, _by_channel(tensors[name], axis), graph.param_axes[name, axis])
        for name, axis in graph.flow.outputs.items()
        if name in tensors
    ]


def read_filters(graph: Graph) -> list[Filters]:
    """Return the weights by which each layer that mixes channels reads them.

    Where a layer reads one channel at many places (a linear layer after a flatten), these count as kernel
    positions of that channel.
    """
    tensors = named_parameters(graph.model)
    filters = []
    for (name, axis), classes in graph.param_axes.items():
        if name in tensors and graph.flow.outputs.get(name, axis) != axis:
            weights = _by_channel(tensors[name], axis)
            filters.append(_gathered(name, weights, classes, graph.flow.param_axes[name, axis].numpy()))
    return filters


def _by_channel(weight: Tensor, axis: int) -> Tensor:
    """Return a weight as (channels along ``axis``, kernel positions, channels of the other side)."""
    rows = weight.detach().to("cpu")
    if rows.dim() == 1:
        return rows.view(-1, 1, 1)
    rows = rows.movedim((axis, 1 - axis), (0, -1))
    return rows.reshape(rows.shape[0], -1, rows.shape[-1])


def _gathered(name: str, weights: Tensor, classes: Ints, labels: Ints) -> Filters:
    """Put the places where one label is read side by side, if every label is read equally often."""
    distinct, counts = np.unique(labels, return_counts=True)
    if len(distinct) == len(labels) or len(set(counts.tolist())) > 1:
        return Filters(name, weights, classes)
    order = np.argsort(labels, kind="stable")
    weights = weights[torch.from_numpy(order)].reshape(len(distinct), -1, weights.shape[-1])
    return Filters(name, weights, classes[order][:: counts[0]])
