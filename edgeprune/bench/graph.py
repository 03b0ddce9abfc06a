"""Map the layers that a runtime names to ONNX nodes, by labels that two files share.

torch numbers the nodes of each file by itself, so that "node_Conv_403" is one convolution in the baseline
and another in the pruned model. What both have in common is the name of the weight: a node is labelled with
the module that its weight belongs to, "layer1.0.conv1", and one without a weight with what it follows,
"layer1.0.conv1/Relu".
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

BLOCKED = "_nchwc"  # ONNX Runtime's ending for what it computes in blocks of channels
FUSED = "fused "  # and its beginning for a matrix product that took in an activation
WEIGHT = re.compile(
    r"(.+)\.weight(?:_fp16|_DequantizeLinear_Output)?"
)  # endings of backends/onnx_fp16.py, onnx_int8.py
TOKEN = re.compile(
    r"_token_\d+$"
)  # ONNX Runtime's ending for kernels that it makes of Q/DQ nodes and a layer
ROUNDING = ("QuantizeLinear", "DequantizeLinear")
SCOPED = "/"  # torch's older exporter begins every name so, and makes them of modules


@dataclass(frozen=True)
class OnnxGraph:
    """One ONNX file.

    Attributes:
        kinds: node -> operator.
        makers: tensor -> the node that makes it.
        first_inputs: node -> its first input.
        labels: node -> its label, the same in every file of this network.
        channels: label -> size of the second axis of its output, where it has one.
    """

    kinds: dict[str, str]
    makers: dict[str, str]
    first_inputs: dict[str, str]
    labels: dict[str, str]
    channels: dict[str, int]

    def nodes_of(self, name: str, kind: str | None, named: Iterable[str]) -> frozenset[str]:
        """Return the labels of the nodes that a layer stands for; its own name where none are known.

        Args:
            name: the layer's, as the runtime gives it.
            kind: what it computes, as the runtime gives it.
            named: nodes that the runtime itself names.
        """
        nodes = [node for node in named if node in self.kinds]
        plain = TOKEN.sub("", name).removesuffix(BLOCKED).removeprefix(FUSED)
        last = plain if plain in self.kinds else self.makers.get(plain)
        if not nodes and last:
            nodes = self._back_to(last, kind)
        return frozenset(self.labels[node] for node in nodes) or frozenset([name])

    def knows(self, nodes: Iterable[str]) -> bool:
        """Return whether any of these is a label of this file."""
        return not set(self.labels.values()).isdisjoint(nodes)

    def channels_of(self, nodes: Iterable[str]) -> set[int]:
        """Return every number of output channels among the nodes of these labels."""
        return {self.channels[node] for node in nodes if node in self.channels}

    def _back_to(self, node: str, kind: str | None) -> list[str]:
        """Return ``node`` and what was fused into it: back along first inputs to the operator it runs as."""
        path = [node]
        while self.kinds[path[-1]] != kind:
            before = self.makers.get(self.first_inputs.get(path[-1], ""))
            if before is None:
                return [node]
            path.append(before)
        return path


def read_graph(path: Path) -> OnnxGraph:
    """Read the graph of an ONNX file, its shapes inferred; a file of another kind has no nodes."""
    import onnx
    from onnx import shape_inference

    try:
        graph = shape_inference.infer_shapes(onnx.load(str(path), load_external_data=False)).graph
    except Exception:  # protobuf's and onnx's own: a runtime may take files that are no ONNX
        return OnnxGraph({}, {}, {}, {}, {})
    sizes = {value.name: _second(value) for value in [*graph.value_info, *graph.output]}
    nodes = [node for node in graph.node if node.name]
    makers = {name: node.name for node in nodes for name in node.output}
    labels = _labels(graph, nodes, makers)
    return OnnxGraph(
        kinds={node.name: node.op_type for node in nodes},
        makers=makers,
        first_inputs={node.name: node.input[0] for node in nodes if node.input},
        labels=labels,
        channels={labels[node.name]: size for node in nodes if (size := sizes.get(node.output[0]))},
    )


def _labels(graph: "GraphProto", nodes: list["NodeProto"], makers: dict[str, str]) -> dict[str, str]:
    """Return {node: label}; ``nodes`` are in an executable order, as ONNX demands."""
    stored = {tensor.name for tensor in graph.initializer}
    labels: dict[str, str] = {}
    taken: dict[str, int] = {}
    rounded = {node.output[0]: node.input[0] for node in nodes if node.op_type in ROUNDING}
    for node in nodes:
        before = _Before(stored, makers, labels, rounded if node.op_type not in ROUNDING else {})
        label = node.name if node.name.startswith(SCOPED) else _label(node, before)
        taken[label] = taken.get(label, 0) + 1
        labels[node.name] = label if taken[label] == 1 else f"{label} ({taken[label]})"
    return labels


@dataclass(frozen=True)
class _Before:
    """What is known of a graph before a node: constants, makers of tensors, labels, what Q/DQ nodes round."""

    stored: set[str]
    makers: dict[str, str]
    labels: dict[str, str]
    rounded: dict[str, str]

    def of(self, name: str) -> str:
        """Return the label of what makes a tensor, seen through Q/DQ nodes."""
        while name in self.rounded:
            name = self.rounded[name]
        return self.labels.get(self.makers.get(name, ""), name)


def _label(node: "NodeProto", before: _Before) -> str:
    weights = [match for name in node.input[1:] if (match := WEIGHT.fullmatch(name))]
    if weights:
        return weights[0].group(1)
    source = next((name for name in node.input if name and name not in before.stored), "")
    label = before.of(source)
    return f"{label}/{node.op_type}" if label else node.op_type


def _second(value: Any) -> int | None:
    sizes = value.type.tensor_type.shape.dim
    return sizes[1].dim_value or None if len(sizes) > 1 else None
