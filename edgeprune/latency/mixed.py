"""Predict the latency of a network whose layers have different precisions, conversions between them included."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from edgeprune.errors import EdgePruneError, known
from edgeprune.graph.classes import Bools, Graph
from edgeprune.latency.estimator import LatencyEstimator
from edgeprune.latency.predict import LatencyModel, Timed
from edgeprune.latency.shapes import DEQUANTIZE, QUANTIZE, ModelLayer, Shape
from edgeprune.latency.table import Entry, Table
from edgeprune.latency.wiring import Read, Wiring

FP32, INT8 = MIXED = ("fp32", "int8")  # that one file of ONNX Runtime may have side by side
Precisions = Mapping[str, str]


def parse_precisions(text: str, error: type[EdgePruneError]) -> tuple[str, ...]:
    """Return the precisions of a list with commas between.

    Args:
        text: such as 'fp32,int8'.
        error: class of the errors.

    Raises:
        EdgePruneError: of that class; one is unknown, or there is nothing to choose.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in MIXED:
            raise error(f"`precisions`: {known('precision', name, list(MIXED))} in one file of ONNX Runtime")
    if set(names) != set(MIXED):
        raise error(
            f"`precisions={text}` leaves nothing to choose: say precisions={','.join(MIXED)}, or "
            f"`target_precision={names[0]}`"
        )
    return tuple(dict.fromkeys(names))


@dataclass
class MixedModel(LatencyModel):
    """Predicted milliseconds at any keep-set, each layer in a precision of its own.

    ``table`` is of float32.

    Attributes:
        int8: table of int8, with conversions.
        wiring: of the layers that there are.
        precisions: layer -> precision; float32 where it has none.
    """

    int8: Table = field(default_factory=lambda: Table({}))
    wiring: Wiring = field(default_factory=lambda: Wiring((), ()))
    precisions: Precisions = field(default_factory=dict)

    def entry_of(self, layer: ModelLayer) -> Entry:
        """Return the entry of the table of a layer's precision."""
        table = self.int8 if self.precisions.get(layer.name) == INT8 else self.table
        return table.entry(layer.shape)

    @cached_property
    def timed(self) -> list[Timed]:
        """List every layer, and every conversion."""
        layers = [
            Timed(layer, self.entry_of(layer), *self.channels_of(layer.name)) for layer in self.model.layers
        ]
        return [*layers, *(self.conversion(op, read) for op, read in self.conversions())]

    def conversions(self) -> Iterator[tuple[str, Read]]:
        """Yield what is converted: a tensor is quantised once, and dequantised for each reader."""
        quantized = set()
        for read in self.wiring.reads:
            made, taken = (self.precisions.get(name or "", FP32) for name in (read.source, read.reader))
            key = quantization_of(read)
            if made == FP32 and taken == INT8 and key not in quantized:
                quantized.add(key)
                yield QUANTIZE, read
            elif made == INT8 and taken == FP32:
                yield DEQUANTIZE, read

    def conversion(self, op: str, read: Read) -> Timed:
        """Return a conversion of what is read as a layer, whose channels are those of a layer beside it.

        Args:
            op: "quantize" or "dequantize".
            read: what is converted.
        """
        shape = Shape(op, read.size)
        classes = None if read.layer is None else self.channels_of(read.layer)[int(read.outputs)]
        layer = ModelLayer(f"{op} {read.tensor} for {read.reader}", shape, read.channels, read.channels)
        return Timed(layer, self.int8.entry(shape), classes, classes)


def quantization_of(read: Read) -> tuple[str | None, tuple[int, ...], int]:
    """Return what tells a quantised tensor from others: reads of the same share it."""
    return read.source, read.size, read.channels


@dataclass
class MixedEstimator(LatencyEstimator):
    """Estimates the latency of any model that was cut from one original, in any precisions of its layers.

    ``table`` is of float32, as is the original.

    Attributes:
        int8: table of int8, with conversions.
        wiring: of the original.
    """

    int8: Table = field(default_factory=lambda: Table({}))
    wiring: Wiring = field(default_factory=lambda: Wiring((), ()))

    def mixed(self, graph: Graph, precisions: Precisions, keep: Bools | None = None) -> MixedModel:
        """Return the latency model of a graph in some precisions.

        Args:
            graph: of the original, or of a model that was cut from it.
            precisions: layer -> precision.
            keep: (classes,) mask by which layers are removed completely; None for all.
        """
        plain = self.on(graph)
        left = {layer.name for layer in plain.model.layers}
        removed = {layer.name for layer in self.model.layers} - left
        if keep is not None:
            removed |= {name for name, ms in plain.by_layer(keep).items() if ms == 0}
        wiring = self.wiring.without(removed)
        return MixedModel(
            graph, plain.model, self.table, int8=self.int8, wiring=wiring, precisions=precisions
        )

    def ms(self, graph: Graph, precisions: Precisions, keep: Bools | None = None) -> float:
        """Return the latency of what is kept, in some precisions, ms.

        Args:
            graph: of the original, or of a model that was cut from it.
            precisions: layer -> precision.
            keep: (classes,) mask of kept classes; None for all.
        """
        return self.mixed(graph, precisions, keep).ms(keep)

    def in_int8(self, graph: Graph) -> dict[str, str]:
        """Return the precisions of a graph with all in int8 that may be."""
        left = {layer.name for layer in self.on(graph).model.layers}
        return {name: INT8 if name in self.wiring.layers else FP32 for name in left}


@dataclass(frozen=True)
class LayerCosts:
    """What precisions cost at some widths.

    Attributes:
        float_ms, int8_ms: layer -> its time.
        reads: with what it takes to quantise and to dequantise each, ms.
    """

    float_ms: Mapping[str, float]
    int8_ms: Mapping[str, float]
    reads: tuple[tuple[Read, float, float], ...]


def layer_costs(estimator: MixedEstimator, graph: Graph, keep: Bools | None = None) -> LayerCosts:
    """Return what precisions cost at a keep-set, of the layers that are left and may be in int8.

    Args:
        estimator: with both tables.
        graph: of the original, or of a model that was cut from it.
        keep: (classes,) mask of kept classes; None for all.
    """
    in_float = estimator.mixed(graph, {}, keep)
    in_int8 = estimator.mixed(graph, estimator.in_int8(graph), keep)
    alive = np.append(np.ones(graph.classes, dtype=bool) if keep is None else keep, True)

    def ms(op: str, read: Read) -> float:
        timed = in_float.conversion(op, read)
        width = read.channels if timed.inputs is None else int(alive[timed.inputs].sum())
        return in_float.layer_ms(timed, width, width)

    layers = in_float.wiring.layers
    by_float, by_int8 = in_float.by_layer(keep), in_int8.by_layer(keep)
    return LayerCosts(
        {name: by_float[name] for name in layers},
        {name: by_int8[name] for name in layers},
        tuple((read, ms(QUANTIZE, read), ms(DEQUANTIZE, read)) for read in in_float.wiring.reads),
    )
