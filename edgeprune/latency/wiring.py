"""Which layer's result each layer of an ONNX file reads, for conversions between layers of different precision.

A layer's result is what is folded into it, too: the sum behind it has its precision, as in the files that are written
(`edgeprune.quantization.placing`). What only moves numbers passes precisions on; all other operations compute in
float.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.files.onnx_nodes import folded_into, readers_of, stored_in
from edgeprune.latency.shapes import LINEAR, inferred, layer_of
from edgeprune.quantization.placing import MOVERS, SUMS

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

Sources = tuple[str | None, ...]
FLOAT: Sources = (None,)


@dataclass(frozen=True)
class Read:
    """One tensor that is read.

    Attributes:
        source: the layer that made it; None for a float operation and the network's input.
        reader: the layer that reads it, or whose sum does; None for a float operation.
        tensor: its name.
        size: without batch and channels.
        channels: at full width.
        layer: whose channels it has; None where no layer has them.
        outputs: whether it has that layer's output channels, or its inputs.
    """

    source: str | None
    reader: str | None
    tensor: str
    size: tuple[int, ...]
    channels: int
    layer: str | None
    outputs: bool


@dataclass(frozen=True)
class Wiring:
    """All reads of a network, in the order of execution, and the layers that may be in int8."""

    reads: tuple[Read, ...]
    layers: tuple[str, ...]

    def without(self, removed: Collection[str]) -> "Wiring":
        """Return the wiring without some layers: who read the sum of one reads what was added to it."""
        stands_for: dict[str, Sources] = dict.fromkeys(removed, ())
        reads: list[Read] = []
        for read in self.reads:
            sources: Sources = stands_for.get(read.source or "", (read.source,))
            if read.reader in stands_for:
                if read.outputs:  # the other summand
                    stands_for[read.reader] = (*stands_for[read.reader], *sources)
                continue
            layer = None if read.layer in stands_for else read.layer
            reads += [replace(read, source=source, layer=layer) for source in sources]
        return Wiring(tuple(reads), tuple(name for name in self.layers if name not in removed))


def read_wiring(path: Path, batch: int) -> Wiring:
    """Return the wiring of a float32 ONNX file.

    Args:
        path: of the file.
        batch: images per inference.
    """
    graph, sizes = inferred(path, batch)
    return _Reader(graph, sizes).wiring()


class _Reader:
    """Follows a graph's tensors from layer to layer.

    Args:
        graph: with its shapes.
        sizes: of its tensors.
    """

    def __init__(self, graph: "GraphProto", sizes: dict[str, tuple[int, ...]]) -> None:
        self.graph, self.sizes = graph, sizes
        self.weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        self.stored = stored_in(graph)
        self.sources: dict[str, Sources] = {}
        self.sum_of: dict[str, str] = {}  # result of a folded sum -> its layer
        self.layers: list[str] = []
        self.reads: list[Read] = []

    def wiring(self) -> Wiring:
        readers, raw = readers_of(self.graph.node), {tensor.name for tensor in self.graph.input}
        outputs = {value.name for value in self.graph.output}
        taken: set[str] = set()
        for node in self.graph.node:
            layer = layer_of(node, self.sizes, self.weights, raw)
            if layer is None:
                self._other(node, taken)
                continue
            name, shape, *_ = layer
            linear = shape.op == LINEAR
            folded = [] if linear else folded_into(node, readers, self.stored, taken)
            taken |= {other.output[0] for other in folded}
            self._read(node.input[0], name, name, outputs=False)
            self.sum_of |= {other.output[0]: name for other in folded if other.op_type == "Add"}
            result = (folded[-1] if folded else node).output[0]
            if linear or result not in outputs:
                self.layers.append(name)
                # a matrix product gives float numbers
                self.sources[result] = FLOAT if linear else (name,)
        return Wiring(tuple(self.reads), tuple(self.layers))

    def _other(self, node: "NodeProto", taken: Collection[str]) -> None:
        """Follow a node that is no layer."""
        computed = [name for name in node.input if name and name not in self.stored]
        result = node.output[0]
        if result in self.sum_of:
            layer = self.sum_of[result]
            for name in computed:
                if name in self.sources:  # the layer's own result before the sum has no entry
                    self._read(name, layer, layer, outputs=True)
            return
        if result in taken or not computed:
            return
        sources = tuple(source for name in computed for source in self.sources.get(name, FLOAT))
        passes = node.op_type in MOVERS or (node.op_type in SUMS and len(computed) == len(node.input))
        if passes and None not in sources:
            self.sources[result] = tuple(dict.fromkeys(sources))
            return
        for name in computed:
            self._read(name, None, None, outputs=True)

    def _read(self, tensor: str, reader: str | None, layer: str | None, *, outputs: bool) -> None:
        """Note that a layer, or a float operation, reads a tensor."""
        dims = (*self.sizes.get(tensor, ()), 1, 1)
        for source in self.sources.get(tensor, FLOAT):
            if source is None and reader is None:
                continue
            whose, side = (source, True) if reader is None else (layer, outputs)
            size = tuple(self.sizes.get(tensor, ()))[2:]
            self.reads.append(Read(source, reader, tensor, size, dims[1] or 1, whose, side))
