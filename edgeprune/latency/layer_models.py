"""Make an ONNX file of many layers of one shape at different widths, each as it occurs in a network.

Timed alone, with plain inputs and outputs, layers add up to more than the network (1.01 of it for ResNet-18,
1.15 for ResNet-50, 1.32 for MobileNetV2), since each pays for changes of layout. Here each reads what a
convolution has just written, and is read by a pooling, which runtimes keep in their own layout.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgeprune.latency.shapes import DEPTHWISE, LINEAR, Shape
from edgeprune.quantization.layers import layers_of
from edgeprune.quantization.placing import ONNXRUNTIME, places_of
from edgeprune.quantization.qdq import scales_of, with_scales

if TYPE_CHECKING:
    from numpy.random import Generator

Point = tuple[int, int]
Layer = tuple[Shape, Point]

FEED = 16  # input channels of every branch; fits the blocks of every runtime
REFERENCE = Shape("conv", (16, 16), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), ("Relu",))
REFERENCE_POINT = (64, 64)
REFERENCE_NAME = "reference"
CHAIN = ("before", "rounded", "after")  # layers between which an int8 one stands


def sample_model(layers: Sequence[Layer], batch: int, seed: int = 0) -> bytes:
    """Return an ONNX file with a branch for each layer, its layer named "t0", "t1", ..., and a reference.

    The last branch, `REFERENCE_NAME`, is in every file and shows how fast the machine was when the file was
    timed.

    Args:
        layers: shape and (inputs, outputs) of each branch.
        batch: images per inference.
        seed: of the weights.
    """
    import numpy as np
    from onnx import TensorProto, helper

    branches = _Branches(np.random.default_rng(seed), batch)
    for number, (shape, point) in enumerate(layers):
        branches.branch(f"t{number}", shape, point)
    branches.branch(REFERENCE_NAME, REFERENCE, REFERENCE_POINT)
    branches.nodes.append(helper.make_node("Concat", branches.ends, ["out"], name="all", axis=1))
    output = helper.make_tensor_value_info("out", TensorProto.FLOAT, [batch, None])
    graph = helper.make_graph(
        branches.nodes, "samples", list(branches.inputs.values()), [output], branches.weights
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    data: bytes = model.SerializeToString()
    return data


def in_int8(model: bytes, only: str | None = None) -> bytes:
    """Return an ONNX file with its layers in int8, in ONNX Runtime's form; which scales they have changes no time.

    Args:
        model: in float32.
        only: name of the one layer in int8; None for all.
    """
    import onnx

    content = onnx.load_from_string(model)
    layers = [layer for layer in layers_of(content) if only in (None, layer.name)]
    places = places_of(content, layers, ONNXRUNTIME)
    scales = scales_of(content, layers, places, dict.fromkeys(places, 1.0))
    data: bytes = with_scales(content, scales, places).SerializeToString()
    return data


def chain_model(size: tuple[int, ...], channels: int, batch: int, seed: int = 0) -> bytes:
    """Return an ONNX file of three layers in a row, named as in `CHAIN`, the middle one in int8.

    Args:
        size: of the maps between them; empty for vectors.
        channels: of the maps.
        batch: images per inference.
        seed: of the weights.
    """
    import numpy as np
    from onnx import TensorProto, helper

    branches = _Branches(np.random.default_rng(seed), batch)
    value = branches.input(size)
    for name, inputs, outputs in zip(
        CHAIN, (FEED, channels, channels), (channels, channels, FEED), strict=True
    ):
        value = branches.node("Relu", [branches.pointwise(name, value, size, inputs, outputs)], f"{name}_act")
    output = helper.make_tensor_value_info(value, TensorProto.FLOAT, None)
    graph = helper.make_graph(
        branches.nodes, "chain", list(branches.inputs.values()), [output], branches.weights
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    return in_int8(model.SerializeToString(), CHAIN[1])


class _Branches:
    """Nodes, weights and inputs as they are added."""

    def __init__(self, draw: "Generator", batch: int) -> None:
        self.draw, self.batch = draw, batch
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.inputs: dict[str, Any] = {}
        self.ends: list[str] = []

    def branch(self, name: str, shape: Shape, point: Point) -> None:
        """Add a feed, the layer, the operations folded into it, and a pooling."""
        inputs, outputs = point
        if shape.op == LINEAR:
            value = self.node(
                "Relu", [self.linear(f"{name}_feed", self.input(()), FEED, inputs)], f"{name}_act"
            )
            self.ends.append(self.linear(name, value, inputs, outputs))
            return
        if shape.raw:
            value = self.input(shape.size, inputs)
        else:
            value = self.fed(f"{name}_feed", shape.size, inputs)
        value = self.convolution(name, value, shape, inputs, outputs)
        for word in shape.after:
            if word == "Add":
                value = self.node(
                    "Add", [value, self.fed(f"{name}_other", shape.out_size, outputs)], f"{name}_add"
                )
            elif word == "Clip":
                value = self.node(
                    "Clip", [value, self.scalar("low", 0.0), self.scalar("high", 6.0)], f"{name}_clip"
                )
            else:
                value = self.node(word, [value], f"{name}_{word.lower()}")
        pooled = self.node("GlobalAveragePool", [value], f"{name}_pool")
        self.ends.append(self.node("Flatten", [pooled], f"{name}_flat"))

    def input(self, size: tuple[int, ...], channels: int = FEED) -> str:
        """Add a graph input of that size, once."""
        from onnx import TensorProto, helper

        name = "x".join(map(str, ("input", channels, *size)))
        if name not in self.inputs:
            dims = [self.batch, channels, *size]
            self.inputs[name] = helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
        return name

    def fed(self, name: str, size: tuple[int, ...], channels: int) -> str:
        """Add ``channels`` feature maps, written by a pointwise convolution."""
        value = self.pointwise(name, self.input(size), size, FEED, channels)
        return self.node("Relu", [value], f"{name}_act")

    def pointwise(self, name: str, value: str, size: tuple[int, ...], inputs: int, outputs: int) -> str:
        """Add a pointwise convolution; a linear layer on vectors."""
        if not size:
            return self.linear(name, value, inputs, outputs)
        n = len(size)
        shape = Shape("conv", size, (1,) * n, (1,) * n, (0,) * 2 * n, (1,) * n)
        return self.convolution(name, value, shape, inputs, outputs)

    def convolution(self, name: str, value: str, shape: Shape, inputs: int, outputs: int) -> str:
        """Add a convolution with a bias, as BatchNorm folding leaves it."""
        groups = inputs if shape.op == DEPTHWISE else 1
        weight = self.stored(f"{name}.weight", (outputs, inputs // groups, *shape.kernel))
        bias = self.stored(f"{name}.bias", (outputs,))
        return self.node(
            "Conv", [value, weight, bias], name, kernel_shape=shape.kernel, strides=shape.strides,
            pads=shape.pads, dilations=shape.dilations, group=groups,
        )  # fmt: skip

    def linear(self, name: str, value: str, inputs: int, outputs: int) -> str:
        """Add a linear layer with a bias."""
        weight = self.stored(f"{name}.weight", (outputs, inputs))
        return self.node("Gemm", [value, weight, self.stored(f"{name}.bias", (outputs,))], name, transB=1)

    def stored(self, name: str, dims: tuple[int, ...]) -> str:
        """Add a weight; its numbers are small, so that deep sums stay finite, and never denormal."""
        from onnx import numpy_helper

        self.weights.append(
            numpy_helper.from_array(self.draw.uniform(0.01, 0.02, dims).astype("float32"), name)
        )
        return name

    def scalar(self, name: str, number: float) -> str:
        """Add a constant, once."""
        from onnx import TensorProto, helper

        if all(weight.name != name for weight in self.weights):
            self.weights.append(helper.make_tensor(name, TensorProto.FLOAT, [], [number]))
        return name

    def node(self, op: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """Add a node with one output."""
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, [f"{name}.out"], name=name, **attributes))
        return f"{name}.out"
