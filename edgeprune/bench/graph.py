"""What the ONNX file knows of a layer that a runtime names: its nodes, and their true number of channels."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BLOCKED = "_nchwc"  # ONNX Runtime's ending for what it computes in blocks of channels


@dataclass(frozen=True)
class Graph:
    """One ONNX file.

    Attributes:
        kinds: node -> operator.
        makers: tensor -> the node that makes it.
        first_inputs: node -> its first input.
        channels: node -> size of its first output's second axis, where it has one.
    """

    kinds: dict[str, str]
    makers: dict[str, str]
    first_inputs: dict[str, str]
    channels: dict[str, int]

    def nodes_of(self, name: str, kind: str | None, named: Iterable[str]) -> frozenset[str]:
        """The nodes that a layer stands for; its own name where none can be found.

        Args:
            name: the layer's, by the runtime.
            kind: what it computes, by the runtime.
            named: nodes that the runtime itself names.
        """
        known = [node for node in named if node in self.kinds]
        if known:
            return frozenset(known)
        plain = name.removesuffix(BLOCKED)
        last = plain if plain in self.kinds else self.makers.get(plain)
        return frozenset(self._back_to(last, kind)) if last else frozenset([name])

    def _back_to(self, node: str, kind: str | None) -> list[str]:
        """``node``, and what was fused into it: back along first inputs to the operator that it runs as."""
        path = [node]
        while self.kinds[path[-1]] != kind:
            before = self.makers.get(self.first_inputs.get(path[-1], ""))
            if before is None:
                return [node]
            path.append(before)
        return path

    def channels_of(self, nodes: Iterable[str]) -> set[int]:
        """Every number of channels that the nodes give out."""
        return {self.channels[node] for node in nodes if node in self.channels}


def read_graph(path: Path) -> Graph:
    """The graph of an ONNX file, its shapes inferred; a file that is none has no nodes."""
    import onnx
    from onnx import shape_inference

    try:
        model = shape_inference.infer_shapes(onnx.load(str(path)))
    except Exception:  # protobuf's and onnx's own: a runtime may take files that are no ONNX
        return Graph({}, {}, {}, {})
    sizes = {one.name: _second(one) for one in [*model.graph.value_info, *model.graph.output]}
    nodes = [node for node in model.graph.node if node.name]
    return Graph(
        kinds={node.name: node.op_type for node in nodes},
        makers={name: node.name for node in nodes for name in node.output},
        first_inputs={node.name: node.input[0] for node in nodes if node.input},
        channels={node.name: size for node in nodes if (size := sizes.get(node.output[0]))},
    )


def _second(value: Any) -> int | None:
    sizes = value.type.tensor_type.shape.dim
    return sizes[1].dim_value or None if len(sizes) > 1 else None
