"""Write Q/DQ nodes into an ONNX graph: symmetric, weights by output channel, activations by tensor.

TensorRT reads them so from version 8 on: no zero points, float weights with Q and DQ behind them, float biases, Q/DQ
at the inputs of the layers alone (devices.md 5.2).
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprune.quantization.layers import Layer, constants_of, copied
from edgeprune.quantization.ranges import LEVELS

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

ENDING = "_DequantizeLinear_Output"  # of the name that a tensor has behind its Q/DQ nodes


@dataclass(frozen=True)
class Scale:
    """What the integers of a tensor are multiplied by.

    Attributes:
        values: float32; a scalar, or one for each channel.
        axis: of the channels; None for a scalar.
    """

    values: np.ndarray
    axis: int | None = None

    def rounded(self, array: np.ndarray) -> np.ndarray:
        """Return what Q and DQ nodes make of an array."""
        scale = self.values
        if self.axis is not None:
            scale = scale.reshape([-1 if axis == self.axis else 1 for axis in range(array.ndim)])
        return np.clip(np.rint(array / scale), -LEVELS - 1, LEVELS) * scale


def weight_scale(weight: np.ndarray, axis: int | None) -> Scale:
    """Return the scale by which the largest weight, of each output channel, is 127.

    Args:
        weight: of a layer.
        axis: of its output channels; None for one scale.
    """
    others = None if axis is None else tuple(a for a in range(weight.ndim) if a != axis)
    largest = np.abs(weight).max(others, initial=0.0)
    return Scale(np.where(largest > 0, largest / LEVELS, 1.0).astype(np.float32), axis)


def scales_of(model: "ModelProto", layers: Iterable[Layer], ranges: Mapping[str, float]) -> dict[str, Scale]:
    """Return the scales of all that some layers read.

    Args:
        model: that the layers are of.
        layers: in int8.
        ranges: activation -> the largest value of it that counts.
    """
    constants = constants_of(model)
    scales: dict[str, Scale] = {}
    for layer in layers:
        if layer.weight is not None:
            scales[layer.weight] = weight_scale(constants[layer.weight], layer.axis)
        for name in layer.activations:
            largest = ranges.get(name, 0.0)
            scales[name] = Scale(np.float32(largest / LEVELS if largest > 0 else 1.0))
    return scales


def with_scales(
    model: "ModelProto", scales: Mapping[str, Scale], in_float: Collection[str] = ()
) -> "ModelProto":
    """Return a copy of a model with Q/DQ nodes behind each tensor that has a scale.

    Every node reads the tensor from behind them, so that a sum with it can be fused into an int8 layer; only layers
    in float read it as it was.

    Args:
        model: in float32.
        scales: tensor, computed or constant -> its scale.
        in_float: results of nodes that read no int8.
    """
    import onnx

    copy = copied(model)
    graph = copy.graph
    nodes: list[NodeProto] = []
    stored = {tensor.name for tensor in graph.initializer}
    for name in scales:
        if name in stored:
            nodes += _pair(copy, name, scales[name])
    for value in graph.input:
        if value.name in scales and value.name not in stored:
            nodes += _pair(copy, value.name, scales[value.name])
    for node in graph.node:
        if node.output[0] not in in_float:
            for position, name in enumerate(node.input):
                if name in scales:
                    node.input[position] = name + ENDING
        nodes.append(node)
        for name in node.output:
            if name in scales:
                nodes += _pair(copy, name, scales[name])
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    return copy


def _pair(model: "ModelProto", name: str, scale: Scale) -> "list[NodeProto]":
    """Return the Q and the DQ node of a tensor, and add their scale and zero point to the model."""
    from onnx import helper, numpy_helper

    inner = f"{name}_QuantizeLinear_Output"
    numbers = [f"{name}_scale", f"{name}_zero_point"]
    values = np.asarray(scale.values, np.float32)
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(values, numbers[0]),
            numpy_helper.from_array(np.zeros(values.shape, np.int8), numbers[1]),
        ]
    )
    axis: dict[str, Any] = {} if scale.axis is None else {"axis": scale.axis}
    return [
        helper.make_node("QuantizeLinear", [name, *numbers], [inner], f"{name}_QuantizeLinear", **axis),
        helper.make_node(
            "DequantizeLinear", [inner, *numbers], [name + ENDING], f"{name}_DequantizeLinear", **axis
        ),
    ]
