"""Time layers on the runtime of the deployment, through the target-side runner."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from edgeprune.bench.graph import OnnxGraph, read_graph
from edgeprune.bench.layers import TimedLayer, merge_passes
from edgeprune.bench.local import Transport
from edgeprune.bench.replies import call
from edgeprune.bench.words import model_words
from edgeprune.devices import Device
from edgeprune.errors import LatencyError
from edgeprune.latency.grid import FINE, Sampling
from edgeprune.latency.layer_models import (
    CHAIN,
    REFERENCE,
    REFERENCE_NAME,
    Layer,
    Point,
    chain_model,
    in_int8,
    sample_model,
)
from edgeprune.latency.shapes import DEPTHWISE, Model, Shape
from edgeprune.latency.table import Table

MOST_POINTS = 48  # of a file
MOST_MACS = 1.5e9  # of a file, per inference: some 50 ms on a small CPU
LARGE_BATCH = 8  # from here on that limit grows with the batch: a process for each layer takes too long
PASSES = 2  # each a fresh process; the faster counts, since noise only ever adds
LEAST_MS = 0.0005  # profilers count whole microseconds: what they call 0 took less than half of one
SECONDS = 0.3  # of a pass


@dataclass(frozen=True)
class ModelFiles:
    """The files of an unpruned model.

    Attributes:
        onnx: in float32, from which its layers are read.
        measured: returns the one that the runtime loads, written on the first call.
    """

    onnx: Path
    measured: Callable[[], Path]


class Profiler(Protocol):
    """Times layers, relative to a reference that every file or call has."""

    sampling: ClassVar[Sampling]
    reference_ms: float | None

    def chunks(self, layers: Sequence[Layer]) -> Iterator[list[Layer]]:
        """Yield layers in chunks that are timed together.

        Args:
            layers: a shape and its (inputs, outputs), each.
        """

    def times(self, layers: Sequence[Layer]) -> list[float]:
        """Return each layer's time in ms.

        Args:
            layers: a chunk.
        """

    def others(self, model: Model, table: Table, files: ModelFiles) -> dict[str, float]:
        """Return ms per channel by operation and size, of all but the layers.

        Args:
            model: the layers and other operations.
            table: with the times of the layers.
            files: of the model.
        """


@dataclass
class LayerProfiler:
    """Times layers by the runtime's own profile, relative to ``reference_ms``, which the first file sets.

    The speed of a machine varies, on a shared one several times over: every file holds the same reference layer,
    and times are relative to it.
    """

    transport: Transport
    device: Device
    threads: int
    batch: int
    folder: Path
    reference_ms: float | None = None
    precision: str = "fp32"
    sampling: ClassVar[Sampling] = FINE
    files: int = field(default=0)

    def passes(
        self, path: Path, seconds: float = SECONDS, count: int = PASSES
    ) -> list[Sequence[dict[str, Any]]]:
        """Time the layers of a model file several times; undisturbed times, where the runtime has them.

        Args:
            path: of the model file.
            seconds: of each pass.
            count: of passes, each in a fresh process.
        """
        remote = self.transport.send(path)
        model_options = model_words(self.transport, self.device, self.batch, self.threads)
        words = ["--model", remote, *model_options, "--seconds", str(seconds)]
        passes = [call(self.transport, "layers", words)["layers"] for _ in range(count)]
        return [
            [{**layer, "ms": layer.get("quiet_ms", layer["ms"])} for layer in layers] for layers in passes
        ]

    def chunks(self, layers: Sequence[Layer]) -> Iterator[list[Layer]]:
        """Yield layers in chunks of bounded work, a file each; layers of several shapes share a file."""
        chunk: list[Layer] = []
        work, most = 0.0, MOST_MACS * max(1.0, self.batch / LARGE_BATCH)
        for shape, point in layers:
            macs = self.batch * shape.macs(*point)
            if chunk and (len(chunk) == MOST_POINTS or work + macs > most):
                yield chunk
                chunk, work = [], 0.0
            chunk.append((shape, point))
            work += macs
        if chunk:
            yield chunk

    def times(self, layers: Sequence[Layer]) -> list[float]:
        """Return each layer's time in ms, all of them in one file.

        Raises:
            LatencyError: the runtime did not report it.
            BenchError: the file could not be run.
        """
        parts = merge_passes(*self._passes_of(sample_model(layers, self.batch)))
        scale = self._scale(time_of(parts, REFERENCE_NAME, REFERENCE))
        return [time_of(parts, f"t{number}", shape) * scale for number, (shape, _) in enumerate(layers)]

    def others(self, model: Model, table: Table, files: ModelFiles) -> dict[str, float]:
        """Return ms per channel by operation and size, of all but the layers, from the model's own run.

        That file has no reference layer: its times are scaled by the ratio of the layers' times in the table and
        in it.

        Args:
            model: of the ONNX file.
            table: with the times of the layers.
            files: of the model.
        """
        parts = merge_passes(self.passes(files.measured(), seconds=1.0), read_graph(files.onnx))
        names = {layer.name for layer in model.layers}
        run = sum(time_of(parts, layer.name, layer.shape) for layer in model.layers)
        scale = sum(table.entry(layer.shape).at(layer.inputs, layer.outputs) for layer in model.layers) / run
        ms: dict[str, float] = {}
        channels: dict[str, int] = {}
        for other in model.others:
            # An operation that the runtime fused into a layer counts with that layer.
            own_parts = [part for part in parts if other.label in part.nodes and not part.nodes & names]
            if own_parts:
                took = scale * sum(min(part.ms) / len(part.nodes) for part in own_parts)
                ms[other.key] = ms.get(other.key, 0.0) + took
                channels[other.key] = channels.get(other.key, 0) + other.channels
        return {other.key: ms.get(other.key, 0.0) / channels.get(other.key, 1) for other in model.others}

    def conversions(self, size: tuple[int, ...], widths: Sequence[int]) -> list[tuple[float, float]]:
        """Return what it takes to quantise maps for an int8 layer, and to dequantise what it gives, ms.

        All kernels between the layers count, changes of layout too.

        Args:
            size: of the maps; empty for vectors.
            widths: channels of the maps, each of which is timed.

        Raises:
            LatencyError: the runtime did not report the layers.
            BenchError: a file could not be run.
        """
        reference = merge_passes(*self._passes_of(sample_model([], self.batch)))
        scale = self._scale(time_of(reference, REFERENCE_NAME, REFERENCE))
        times_ms = []
        for channels in widths:
            passes, graph = self._passes_of(chain_model(size, channels, self.batch), rounded=True)
            sides = zip(*(_between(layers, graph) for layers in passes), strict=True)
            quantize_ms, dequantize_ms = (max(scale * min(side), LEAST_MS) for side in sides)
            times_ms.append((quantize_ms, dequantize_ms))
        return times_ms

    def _passes_of(
        self, model: bytes, *, rounded: bool = False
    ) -> tuple[list[Sequence[dict[str, Any]]], OnnxGraph]:
        """Return the passes of a model, in this precision unless it is ``rounded`` already, and its graph."""
        path = self.folder / f"samples{self.files}.onnx"
        self.files += 1
        path.write_bytes(in_int8(model) if self.precision == "int8" and not rounded else model)
        try:
            return self.passes(path), read_graph(path)
        finally:
            path.unlink()

    def _scale(self, reference_ms: float) -> float:
        if self.reference_ms is None:
            self.reference_ms = reference_ms
        return self.reference_ms / reference_ms


def time_of(parts: Sequence[TimedLayer], name: str, shape: Shape) -> float:
    """Return the ms of a branch's layer with the operations folded into it, fused by the runtime or not.

    Args:
        parts: the timed layers of the file.
        name: label of the layer.
        shape: of the layer.

    Raises:
        LatencyError: the runtime did not report it.
    """
    labels, label = {name}, name
    for word in shape.after:
        label = f"{label}/{word}"
        labels.add(label)
    own_parts = [part for part in parts if part.nodes & labels]
    if not own_parts:
        raise LatencyError(
            f"the runtime did not say what {shape.key} took: it names layers in a way edgeprune does not know"
        )
    return max(sum(min(part.ms) for part in own_parts), LEAST_MS)


def _between(layers: Sequence[dict[str, Any]], graph: OnnxGraph) -> tuple[float, float]:
    """Return the ms of all kernels between the first two layers of a chain, and between the last two."""
    nodes = [graph.nodes_of(layer["name"], layer["kind"], layer["onnx"]) for layer in layers]
    places = [next((n for n, labels in enumerate(nodes) if name in labels), None) for name in CHAIN]
    if None in places:
        raise LatencyError("the runtime names layers between conversions in a way edgeprune does not know")
    first, middle, last = (place for place in places if place is not None)
    return (
        sum(layer["ms"] for layer in layers[first + 1 : middle]),
        sum(layer["ms"] for layer in layers[middle + 1 : last]),
    )


def layers_of(requests: Mapping[Shape, Sequence[Point]]) -> list[Layer]:
    """Return layers one by one; a depthwise one has a single width.

    Args:
        requests: the (inputs, outputs) of layers, by their shapes.
    """
    layers: list[Layer] = []
    for shape, points in requests.items():
        if shape.op == DEPTHWISE:
            points = sorted({(max(point), max(point)) for point in points})
        layers += [(shape, point) for point in points]
    return layers
