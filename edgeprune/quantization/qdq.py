"""Write Q/DQ nodes into an ONNX graph: weights by output channel and symmetric, activations by tensor.

TensorRT reads them so from version 8 on: float weights with Q and DQ behind them, float biases, no zero points in the
places of its form (devices.md 5.2).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprune.quantization.layers import Layer, constants_of, copied
from edgeprune.quantization.placing import Place, levels_of
from edgeprune.quantization.ranges import LEVELS

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Q = "QuantizeLinear"
ENDING = "_DequantizeLinear_Output"  # of the name that a tensor has behind its Q/DQ nodes


@dataclass(frozen=True)
class Scale:
    """What the integers of a tensor are multiplied by.

    Attributes:
        values: float32; a scalar, or one for each channel.
        axis: of the channels; None for a scalar.
        zero_point: of uint8; None for int8, whose is 0.
    """

    values: np.ndarray
    axis: int | None = None
    zero_point: int | None = None

    def rounded(self, array: np.ndarray) -> np.ndarray:
        """Return what Q and DQ nodes make of an array."""
        return self.integers(array) * self._spread(array.ndim)

    def integers(self, array: np.ndarray) -> np.ndarray:
        """Return what a Q node makes of an array, its zero point taken off, as floats."""
        low = -LEVELS - 1 if self.zero_point is None else -self.zero_point
        return np.clip(np.rint(array / self._spread(array.ndim)), low, low + 2 * LEVELS + 1)

    def _spread(self, dimensions: int) -> np.ndarray:
        """Return the values in a shape that an array of so many dimensions is multiplied by."""
        if self.axis is None:
            return self.values
        return self.values.reshape([-1 if axis == self.axis else 1 for axis in range(dimensions)])


def weight_scale(weight: np.ndarray, axis: int | None) -> Scale:
    """Return the scale by which the largest weight, of each output channel, is 127.

    Args:
        weight: of a layer.
        axis: of its output channels; None for one scale.
    """
    others = None if axis is None else tuple(a for a in range(weight.ndim) if a != axis)
    largest = np.abs(weight).max(others, initial=0.0)
    return Scale(np.where(largest > 0, largest / LEVELS, 1.0).astype(np.float32), axis)


def scales_of(
    model: "ModelProto", layers: Iterable[Layer], places: Mapping[str, Place], ranges: Mapping[str, float]
) -> dict[str, Scale]:
    """Return the scales of the weights of some layers, and of the tensors at some places.

    Args:
        model: that the layers are of.
        layers: in int8.
        places: of Q/DQ nodes.
        ranges: tensor -> the largest value of it that counts.
    """
    constants = constants_of(model)
    scales: dict[str, Scale] = {}
    for layer in layers:
        if layer.weight is not None:
            scales[layer.weight] = weight_scale(constants[layer.weight], layer.axis)
    for name, place in places.items():
        largest = ranges.get(place.source or name, 0.0)
        levels = levels_of(place.zero_point)
        scales[name] = Scale(
            np.float32(largest / levels if largest > 0 else 1.0), zero_point=place.zero_point
        )
    return scales


def with_scales(
    model: "ModelProto", scales: Mapping[str, Scale], places: Mapping[str, Place]
) -> "ModelProto":
    """Return a copy of a model with Q/DQ nodes behind each tensor that has a scale.

    Args:
        model: in float32.
        scales: tensor, computed or constant -> its scale.
        places: which nodes read a computed tensor from behind the Q/DQ nodes; the others read it as it was.
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
        for position, name in enumerate(node.input):
            readers = places[name].readers if name in places else None
            if name in scales and (readers is None or node.output[0] in readers):
                node.input[position] = name + ENDING
        nodes.append(node)
        for name in node.output:
            if name in scales:
                nodes += _pair(copy, name, scales[name])
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    return copy


def hold_integers(model: "ModelProto") -> int:
    """Keep constants as the integers that their Q nodes make of them, in place of both; return how many.

    Such a file is about a quarter as large. ONNX Runtime computes the same: it rounds them so itself at load.

    Args:
        model: with Q/DQ nodes; it is changed, and computes the same.
    """
    from onnx import numpy_helper

    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    held = [node for node in graph.node if node.op_type == Q and node.input[0] in stored]
    for node in held:
        array, scale, zero = (numpy_helper.to_array(stored[name]) for name in node.input)
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), None)
        integers = Scale(scale, axis if scale.ndim else None).integers(array)
        graph.initializer.append(numpy_helper.from_array(integers.astype(zero.dtype), node.output[0]))
        graph.node.remove(node)
    read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    for name in {node.input[0] for node in held} - read:
        graph.initializer.remove(stored[name])
    return len(held)


def _pair(model: "ModelProto", name: str, scale: Scale) -> "list[NodeProto]":
    """Return the Q and the DQ node of a tensor, and add their scale and zero point to the model."""
    from onnx import helper, numpy_helper

    inner = f"{name}_QuantizeLinear_Output"
    numbers = [f"{name}_scale", f"{name}_zero_point"]
    values = np.asarray(scale.values, np.float32)
    kind = np.int8 if scale.zero_point is None else np.uint8
    zeros = np.full(values.shape, scale.zero_point or 0, kind)
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(values, numbers[0]),
            numpy_helper.from_array(zeros, numbers[1]),
        ]
    )
    axis: dict[str, Any] = {} if scale.axis is None else {"axis": scale.axis}
    return [
        helper.make_node("QuantizeLinear", [name, *numbers], [inner], f"{name}_QuantizeLinear", **axis),
        helper.make_node(
            "DequantizeLinear", [inner, *numbers], [name + ENDING], f"{name}_DequantizeLinear", **axis
        ),
    ]
