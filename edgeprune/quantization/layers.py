"""The layers of an ONNX graph that int8 is for, and what they read."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul")  # int8 kernels of these are worth their Q/DQ nodes
WEIGHT = ".weight"


@dataclass(frozen=True)
class Layer:
    """One layer.

    Attributes:
        name: of its module, as the weight's name has it; else of its node.
        output: its result, by which its node is known.
        operator: its kind.
        activations: tensors it reads that are computed, or are the network's input.
        weight: the constant it multiplies by; None for a product of two activations.
        axis: of the weight's output channels; None where they have no axis of their own.
        bias: the constant it adds; None without one.
        groups: of a convolution.
        depthwise: whether each of its channels is computed of one.
    """

    name: str
    output: str
    operator: str
    activations: tuple[str, ...]
    weight: str | None
    axis: int | None
    bias: str | None
    groups: int = 1
    depthwise: bool = False

    @property
    def factors(self) -> tuple[str, ...]:
        """All that it multiplies: activations, and the weight."""
        return self.activations if self.weight is None else (*self.activations, self.weight)


def layers_of(model: "ModelProto") -> list[Layer]:
    """Return the layers of a graph that int8 is for, in its order."""
    return list(_layers(model))


def copied(model: "ModelProto") -> "ModelProto":
    """Return a copy of a model."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def with_own_constants(model: "ModelProto") -> "ModelProto":
    """Return a copy of a model in which each node has float constants of its own.

    Exporters merge constants that are equal by chance, directly or through Identity nodes; scaled and corrected, they
    are equal no more.
    """
    import onnx

    copy = copied(model)
    tensors = {
        tensor.name: tensor for tensor in copy.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT
    }
    outputs = {value.name for value in copy.graph.output}
    aliases = {
        node.output[0]: node.input[0]
        for node in copy.graph.node
        if node.op_type == "Identity" and node.input[0] in tensors and node.output[0] not in outputs
    }
    taken: set[str] = set()
    nodes = [node for node in copy.graph.node if node.output[0] not in aliases]
    for node in nodes:
        for position, name in enumerate(node.input):
            source = aliases.get(name, name)
            if source not in tensors:
                continue
            own = name if name not in taken else f"{name}_of_{node.output[0]}"
            taken.add(own)
            node.input[position] = own
            if own not in tensors:
                copy.graph.initializer.append(tensors[source])
                copy.graph.initializer[-1].name = own
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del copy.graph.node[:]
    copy.graph.node.extend(kept)
    return copy


def input_of(model: "ModelProto") -> str:
    """Return the name of a model's first input that is not a constant."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return str(next(value.name for value in model.graph.input if value.name not in stored))


def constants_of(model: "ModelProto") -> dict[str, np.ndarray]:
    """Return the float32 constants of a graph by name."""
    from onnx import TensorProto, numpy_helper

    return {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT
    }


def put_constant(model: "ModelProto", name: str, values: np.ndarray) -> None:
    """Replace the numbers of a constant, or add it.

    Args:
        model: that is changed.
        name: of the constant.
        values: its new numbers.
    """
    from onnx import numpy_helper

    tensor = numpy_helper.from_array(np.ascontiguousarray(values), name)
    for old in model.graph.initializer:
        if old.name == name:
            old.CopyFrom(tensor)
            return
    model.graph.initializer.append(tensor)


def _layers(model: "ModelProto") -> Iterator[Layer]:
    from onnx import TensorProto

    shapes = {
        tensor.name: tuple(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT
    }
    stored = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in OPERATORS or node.domain not in ("", "ai.onnx"):
            continue
        factors = list(node.input[:2])
        weight = next((name for name in factors if name in shapes), None)
        activations = tuple(dict.fromkeys(name for name in factors if name not in stored))
        if not activations:
            continue
        bias = node.input[2] if len(node.input) > 2 and node.input[2] in shapes else None
        axis = None if weight is None else _output_axis(node, weight, len(shapes[weight]))
        groups = _attribute(node, "group", 1)
        yield Layer(
            name=weight.removesuffix(WEIGHT)
            if weight and weight.endswith(WEIGHT)
            else node.name or node.output[0],
            output=node.output[0],
            operator=node.op_type,
            activations=activations,
            weight=weight,
            axis=axis,
            bias=bias,
            groups=groups,
            depthwise=node.op_type == "Conv"
            and groups > 1
            and shapes.get(weight or "", (0,))[:2] == (groups, 1),
        )


def _output_axis(node: "NodeProto", weight: str, rank: int) -> int | None:
    """Return the axis of a weight's output channels; None where a scale for each of them is not possible."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1 if _attribute(node, "group", 1) == 1 else None
    if node.input[1] != weight or rank != 2:
        return None
    return 0 if node.op_type == "Gemm" and _attribute(node, "transB", 0) else 1


def _attribute(node: "NodeProto", name: str, default: int) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)
