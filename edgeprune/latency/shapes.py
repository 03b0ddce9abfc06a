"""Describe layers apart from their channels, the keys of a latency table; read those of an ONNX file."""

import math
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.bench.graph import WEIGHT, read_graph
from edgeprune.errors import LatencyError
from edgeprune.files.onnx_nodes import folded_into, readers_of

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

DENSE, DEPTHWISE, LINEAR = "conv", "depthwise", "linear"
QUANTIZE, DEQUANTIZE = CONVERSIONS = ("quantize", "dequantize")  # of maps, with all changes of layout
SINGLE = (DEPTHWISE, *CONVERSIONS)  # which give out as many channels as they read
VECTOR = "vector"  # the size of an output without maps


@dataclass(frozen=True)
class Shape:
    """Everything that determines a layer's time, apart from its channels and the batch.

    Attributes:
        op: "conv" (dense), "depthwise" or "linear"; "quantize" and "dequantize" have a size alone.
        size: of the input, without batch and channels; empty for "linear".
        kernel, strides, pads, dilations: as ONNX has them; empty for "linear".
        after: what is folded into it, in order: "Add" is a residual add, the others activations.
        raw: whether it reads the network's input, which comes in the runtime's plain layout.
    """

    op: str
    size: tuple[int, ...] = ()
    kernel: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    after: tuple[str, ...] = ()
    raw: bool = False

    @property
    def key(self) -> str:
        """'conv 3x3 on 32x32 + Add + Relu', with stride, padding and dilation where they are unusual."""
        words = [self.op]
        if self.op in CONVERSIONS:
            words.append(f"on {_by(self.size) or VECTOR}")
        elif self.op != LINEAR:
            words.append(_by(self.kernel))
            words += [f"stride {_by(self.strides)}"] * (set(self.strides) != {1})
            usual = tuple((k - 1) * d // 2 for k, d in zip(self.kernel, self.dilations, strict=True)) * 2
            words += [f"pad {_by(self.pads)}"] * (self.pads != usual)
            words += [f"dilation {_by(self.dilations)}"] * (set(self.dilations) != {1})
            words.append(f"on {_by(self.size)}")
        words += ["raw"] * self.raw
        return " + ".join([" ".join(words), *self.after])

    @property
    def out_size(self) -> tuple[int, ...]:
        """The size of the output, without batch and channels."""
        n = len(self.size)
        return tuple(
            (self.size[i] + self.pads[i] + self.pads[n + i] - self.dilations[i] * (self.kernel[i] - 1) - 1)
            // self.strides[i]
            + 1
            for i in range(n)
        )

    def macs(self, inputs: int, outputs: int) -> float:
        """Return the multiply-adds for one image."""
        area = 1.0
        for length in (*self.out_size, *self.kernel):
            area *= length
        return area * (outputs if self.op == DEPTHWISE else inputs * outputs)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "Shape":
        """Read `to_dict`'s form back."""
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
        return cls(**plain)


@dataclass(frozen=True)
class ModelLayer:
    """One layer of a model: its name (the torch module's), shape, and full numbers of channels."""

    name: str
    shape: Shape
    inputs: int
    outputs: int


@dataclass(frozen=True)
class Other:
    """An operation that is not a layer: it costs in proportion to its channels.

    Attributes:
        label: of its node; see `edgeprune.bench.graph`.
        key: operation and size of its output, as in "Concat on 28x28".
        channels: of its output, or 1 where unknown.
        base: the layer whose channels it has, taken from its label.
    """

    label: str
    key: str
    channels: int
    base: str

    @property
    def area(self) -> int:
        """The numbers in one channel of its output; 1 of a vector."""
        size = self.key.rpartition(" on ")[2]
        return math.prod(max(1, int(length)) for length in size.split("x")) if size != VECTOR else 1


@dataclass(frozen=True)
class Model:
    """Everything that a table must cover: the layers, in the order of execution, and the other operations."""

    layers: tuple[ModelLayer, ...]
    others: tuple[Other, ...]

    def without(self, names: set[str]) -> "Model":
        """Return this model without some layers and what follows them."""
        return Model(
            tuple(layer for layer in self.layers if layer.name not in names),
            tuple(other for other in self.others if other.base not in names),
        )


def read_model(path: Path, batch: int) -> Model:
    """Read the layers of an ONNX file.

    Raises:
        LatencyError: it has no convolution or linear layer.
    """
    graph, sizes = inferred(path, batch)
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    raw = {tensor.name for tensor in graph.input}
    readers = readers_of(graph.node)
    layers, covered = [], set[str]()
    for node in graph.node:
        layer = layer_of(node, sizes, weights, raw)
        if layer is None:
            continue
        name, shape, inputs, outputs = layer
        folded = folded_into(node, readers, weights, covered) if shape.op != LINEAR else []
        covered |= {node.output[0], *(after.output[0] for after in folded)}
        after = tuple(other.op_type for other in folded)
        layers.append(ModelLayer(name, replace(shape, after=after), inputs, outputs))
    if not layers:
        raise LatencyError(f"{path.name} has no convolution or linear layer: there is nothing to time")
    labels = read_graph(path).labels
    others = [
        Other(
            label,
            f"{node.op_type} on {_by(dims[2:]) or VECTOR}",
            (*dims, 1, 1)[1] or 1,
            label.split("/")[0],
        )
        for node in graph.node
        if node.output[0] not in covered and (label := labels.get(node.name))
        for dims in [sizes.get(node.output[0], ())]
    ]
    return Model(tuple(layers), tuple(others))


def inferred(path: Path, batch: int) -> "tuple[GraphProto, dict[str, tuple[int, ...]]]":
    """Return the graph of an ONNX file, and the size of each tensor.

    Args:
        path: of the file.
        batch: images per inference.
    """
    import onnx
    from onnx import shape_inference

    content = onnx.load(str(path), load_external_data=False)
    _fix_batch(content, batch)
    # With data: the size that a Resize takes from another map's shape is known by following the numbers.
    graph = shape_inference.infer_shapes(content, data_prop=True).graph
    return graph, {v.name: _sizes(v) for v in [*graph.input, *graph.value_info, *graph.output]}


def _fix_batch(content: "ModelProto", batch: int) -> None:
    for value in content.graph.input:
        for dim in value.type.tensor_type.shape.dim[:1]:
            if not dim.dim_value:
                dim.dim_value = batch


def _sizes(value: Any) -> tuple[int, ...]:
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)


def layer_of(
    node: "NodeProto", sizes: dict[str, tuple[int, ...]], weights: dict[str, tuple[int, ...]], raw: set[str]
) -> tuple[str, Shape, int, int] | None:
    """Return name, shape and channels of a node that is a layer of a known kind; None of others.

    Args:
        node: of the graph.
        sizes: of its tensors.
        weights: constant -> its size.
        raw: names of the graph's inputs.
    """
    if len(node.input) < 2 or node.input[1] not in weights:
        return None
    match, dims = WEIGHT.fullmatch(node.input[1]), weights[node.input[1]]
    name = match.group(1) if match else re.sub(r"\W+", "_", node.input[1])
    attributes: dict[str, Any] = {a.name: tuple(a.ints) or a.i for a in node.attribute}
    if node.op_type == "Gemm" and len(dims) == 2:
        outputs, inputs = dims if attributes.get("transB") else dims[::-1]
        return name, Shape(LINEAR), inputs, outputs
    if node.op_type != "Conv" or len(sizes.get(node.input[0], ())) != len(dims):
        return None
    if 0 in sizes[node.input[0]][2:]:
        return None  # a size that nothing tells: estimated in proportion
    n, groups = len(dims) - 2, int(attributes.get("group", 1) or 1)
    inputs = dims[1] * groups
    if groups not in (1, inputs) or (groups > 1 and dims[0] != inputs):
        return None  # groups of several channels: estimated in proportion
    shape = Shape(
        DENSE if groups == 1 else DEPTHWISE,
        sizes[node.input[0]][2:],
        dims[2:],
        attributes.get("strides") or (1,) * n,
        attributes.get("pads") or (0,) * 2 * n,
        attributes.get("dilations") or (1,) * n,
        raw=node.input[0] in raw,
    )
    return name, shape, inputs, dims[0]


def _by(lengths: tuple[int, ...]) -> str:
    return "x".join(map(str, lengths))
