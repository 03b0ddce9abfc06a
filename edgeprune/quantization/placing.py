"""Where Q/DQ nodes stand in a graph, by what a runtime makes int8 kernels of.

TensorRT wants them at the inputs of its layers alone, symmetric. ONNX Runtime computes a convolution in int8 only where
its result is rounded too, behind the ReLU that it folds in, which needs unsigned numbers with 0 as zero point; sums and
what moves numbers about stay in int8 between such layers. A graph in TensorRT's form runs in float32 there, Q/DQ nodes
and all: a ResNet-20 took 2.4 times as long as the float32 file.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edgeprune.files.onnx_nodes import ACTIVATIONS, folded_into, readers_of, stored_in
from edgeprune.quantization.layers import Layer, constants_of, layers_of
from edgeprune.quantization.ranges import LEVELS

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

ONNXRUNTIME, TENSORRT = FORMS = ("onnxruntime", "tensorrt")
SUMS = ("Add", "Concat")  # int8 kernels with a scale for each input and one for the result
MOVERS = ("MaxPool", "Slice", "Pad", "Reshape", "Flatten", "Transpose", "Squeeze")  # which keep a scale
NONNEGATIVE = ("Relu", "Sigmoid", "HardSigmoid", "Softmax")
AVERAGES = ("AveragePool", "GlobalAveragePool", "ReduceMean")  # not below 0 where nothing they read is
MIDDLE = 128  # of unsigned numbers: the zero point of values of both signs


@dataclass(frozen=True)
class Place:
    """The Q/DQ nodes of one computed tensor.

    Attributes:
        readers: results of the nodes that read the tensor from behind them; None for all.
        zero_point: of unsigned integers; None for signed ones without.
        source: the tensor whose range it has; None for its own.
    """

    readers: frozenset[str] | None = None
    zero_point: int | None = None
    source: str | None = None


def levels_of(zero_point: int | None) -> int:
    """Return how many steps of its scale the largest value of a tensor takes, by its zero point."""
    return 2 * LEVELS + 1 if zero_point == 0 else LEVELS


def places_of(model: "ModelProto", layers: Iterable[Layer], form: str) -> dict[str, Place]:
    """Return the places of a graph's Q/DQ nodes, by tensor.

    Args:
        model: in float32.
        layers: in int8.
        form: of `FORMS`.
    """
    chosen = list(layers)
    if form == ONNXRUNTIME:
        return _Placing(model, chosen).places()
    in_float = {layer.output for layer in layers_of(model)} - {layer.output for layer in chosen}
    readers = readers_of(model.graph.node)
    return {
        name: Place(frozenset(node.output[0] for node in readers[name]) - in_float)
        for layer in chosen
        for name in layer.activations
    }


@dataclass
class _Placing:
    """Where the nodes stand in ONNX Runtime's form.

    Attributes:
        made: tensors that int8 kernels make: all who read them read the integers.
        read: tensors that others make -> results of the nodes that read them as integers.
    """

    model: "ModelProto"
    layers: list[Layer]
    made: dict[str, str | None] = field(default_factory=dict)
    read: dict[str, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        graph = self.model.graph
        self.readers = readers_of(graph.node)
        self.makers: dict[str, NodeProto] = {name: node for node in graph.node for name in node.output}
        self.constants = constants_of(self.model) | _constant_nodes(graph.node)
        self.stored = stored_in(graph)
        self.outputs = {value.name for value in graph.output}

    def places(self) -> dict[str, Place]:
        for layer in self.layers:
            for name in layer.activations:
                self._reads(name, layer.output)
        sums = self._convolutions()
        self._between(sums)
        self._drop_idle_movers()
        places = {
            name: Place(zero_point=self._zero_point(name), source=source)
            for name, source in self.made.items()
        }
        for name, readers in self.read.items():
            if name not in places:
                places[name] = Place(frozenset(readers), self._zero_point(name))
        return places

    def _reads(self, name: str, reader: str) -> None:
        self.read.setdefault(name, set()).add(reader)

    def _convolutions(self) -> set[str]:
        """Place what convolutions make, and what the sums read that are folded into them; return all sums so folded."""
        chosen = {layer.output for layer in self.layers if layer.operator == "Conv"}
        taken: set[str] = set()
        for node in self.model.graph.node:
            if node.op_type != "Conv":
                continue
            folded = folded_into(node, self.readers, self.stored, taken)
            taken |= {other.output[0] for other in folded}
            if node.output[0] not in chosen:
                continue
            result = folded[-1] if folded else node
            if folded and folded[0].op_type == "Add":
                self.made[node.output[0]] = None
                for name in folded[0].input:
                    self._reads(name, folded[0].output[0])
            if result.output[0] not in self.outputs:
                self.made[result.output[0]] = None
        return taken

    def _between(self, taken: Collection[str]) -> None:
        """Place what sums and movers make of integers alone."""
        for node in self.model.graph.node:
            computed = [name for name in node.input if name and name not in self.stored]
            if node.output[0] in taken or not computed or any(name not in self.made for name in computed):
                continue
            if node.op_type in SUMS and len(computed) == len(node.input):
                self.made.setdefault(self._activated(node).output[0], None)
            elif node.op_type in MOVERS and self._keeps_zero(node):
                self.made[node.output[0]] = self.made[computed[0]] or computed[0]

    def _drop_idle_movers(self) -> None:
        """Let movers compute in float whose results nothing reads as integers."""
        for node in reversed(self.model.graph.node):
            name = node.output[0]
            if self.made.get(name) is None:
                continue
            used = name in self.read or any(
                output in self.made or self._sums_up(reader)
                for reader in self.readers[name]
                for output in reader.output
            )
            if not used or name in self.outputs:
                del self.made[name]

    def _sums_up(self, node: "NodeProto") -> bool:
        """Return whether a sum computes in integers, an activation behind it included."""
        return node.op_type in SUMS and self._activated(node).output[0] in self.made

    def _activated(self, node: "NodeProto") -> "NodeProto":
        """Return the activation that alone reads a sum; the sum where there is none."""
        following = self.readers.get(node.output[0], [])
        return following[0] if len(following) == 1 and following[0].op_type in ACTIVATIONS else node

    def _keeps_zero(self, node: "NodeProto") -> bool:
        """Return whether a mover adds nothing but zeros."""
        if node.op_type != "Pad":
            return True
        value = self.constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1)
        return value is not None and not np.any(value)

    def _zero_point(self, name: str) -> int:
        return 0 if self._nonnegative(name) else MIDDLE

    def _nonnegative(self, name: str) -> bool:
        """Return whether a tensor has no number below 0, whatever the image."""
        node = self.makers.get(name)
        if node is None:
            return False
        if node.op_type == "Clip":
            low = self.constants.get(node.input[1]) if len(node.input) > 1 else None
            return low is not None and bool(np.all(low >= 0))
        if node.op_type in (*AVERAGES, *MOVERS) and self._keeps_zero(node):
            return self._nonnegative(node.input[0])
        if node.op_type in SUMS:
            return all(self._nonnegative(other) for other in node.input)
        return node.op_type in NONNEGATIVE


def _constant_nodes(nodes: "Iterable[NodeProto]") -> dict[str, np.ndarray]:
    """Return the numbers of constants that are nodes."""
    from onnx import numpy_helper

    return {
        node.output[0]: numpy_helper.to_array(attribute.t)
        for node in nodes
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }


def rounded_alone(places: Mapping[str, Place], layer: Layer) -> dict[str, Place]:
    """Return the places of one layer of which nothing else reads what it reads.

    Args:
        places: of that layer.
        layer: in int8.
    """
    alone = frozenset([layer.output])
    return {
        name: Place(alone, place.zero_point) if name in layer.activations else place
        for name, place in places.items()
    }
