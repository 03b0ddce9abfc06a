"""Labels of the values of an ONNX graph, by their names in the file."""

from collections import defaultdict
from typing import Any

import torch.fx as fx
from torch import Tensor

from edgeprune.graph import labels as lb
from edgeprune.graph.classes import Graph
from edgeprune.graph.labels import tensors_in
from edgeprune.onnx_graph.network import OnnxNetwork, Trace
from edgeprune.recording.record import CALL, VALUE


class Values:
    """What the graph of channels knows of each value of the file.

    Args:
        network: the file's network.
        graph: its coupled channels.
        trace: a run on the graph's own example.
    """

    def __init__(self, network: OnnxNetwork, graph: Graph, trace: Trace) -> None:
        self._graph, self._trace = graph, trace
        self.calls = _calls_by_path(graph.nodes)
        self.labels: dict[str, Any] = dict(_inputs(network, graph))
        for node, path in network.steps:
            for position, name in enumerate(node.output):
                if path is not None and name:
                    self.labels[name] = self._of(path, position, name, node.output)

    def _of(self, path: str, position: int, name: str, names: Any) -> Any:
        """Return the labels of a node's result."""
        same = self._trace.same.get(name)
        if same is not None:
            return self.labels[same]
        values = self._graph.flow.values
        last = self.calls[path][-1]
        labels = values[last]
        if isinstance(labels, Tensor):
            return labels
        return labels[sum(bool(other) for other in names[:position])]

    def of_parameter(self, name: str, tensor: Tensor) -> Tensor:
        """Return the labels of a parameter that is moved or computed with; zeros where it has none.

        Args:
            name: its name in the network.
            tensor: it.
        """
        labels = self._graph.flow.attributes.get(name)
        return lb.constants_like(tensor) if labels is None else labels


def _calls_by_path(nodes: list[fx.Node]) -> dict[str, list[fx.Node]]:
    """Return the calls of each module that gave tensors, in order."""
    calls = defaultdict(list)
    for node in nodes:
        if CALL in node.meta and tensors_in(node.meta[VALUE]):
            calls[node.meta[CALL].path].append(node)
    return calls


def _inputs(network: OnnxNetwork, graph: Graph) -> list[tuple[str, Any]]:
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    return [(name, graph.flow.values[n]) for name, n in zip(network.inputs, placeholders, strict=True)]
