"""Time layers on the runtime of the deployment, through the target-side runner."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeprune.bench.graph import read_graph
from edgeprune.bench.layers import TimedLayer, merge_passes
from edgeprune.bench.local import Transport
from edgeprune.bench.replies import call
from edgeprune.bench.words import model_words
from edgeprune.devices import Device
from edgeprune.errors import LatencyError
from edgeprune.latency.layer_models import REFERENCE, REFERENCE_NAME, Point, sample_model
from edgeprune.latency.shapes import DEPTHWISE, Shape

MOST_POINTS = 48  # of a file
MOST_MACS = 1.5e9  # of a file, per inference: some 50 ms on a small CPU
LARGE_BATCH = 8  # from here on that limit grows with the batch: a process for each layer takes too long
PASSES = 2  # each a fresh process; the faster counts, since noise only ever adds
LEAST_MS = 0.0005  # profilers count whole microseconds: what they call 0 took less than half of one
SECONDS = 0.3  # of a pass


@dataclass
class LayerProfiler:
    """Times layers; ``reference_ms`` is set by the first file, and all others are scaled to it.

    The speed of a machine varies, on a shared one several times over: every file holds the same reference layer,
    and times are relative to it.
    """

    transport: Transport
    device: Device
    threads: int
    batch: int
    folder: Path
    reference_ms: float | None = None
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

    def times(self, shape: Shape, points: Sequence[Point]) -> dict[Point, float]:
        """Return each point's time in ms.

        Raises:
            LatencyError: the runtime did not report it.
            BenchError: the file could not be run.
        """
        if shape.op == DEPTHWISE:
            points = sorted({(max(point), max(point)) for point in points})
        times_ms: dict[Point, float] = {}
        for chunk in _chunks(shape, points, self.batch):
            times_ms.update(zip(chunk, self._file(shape, chunk), strict=True))
        return times_ms

    def _file(self, shape: Shape, points: Sequence[Point]) -> list[float]:
        path = self.folder / f"samples{self.files}.onnx"
        self.files += 1
        path.write_bytes(sample_model(shape, points, self.batch))
        try:
            parts = merge_passes(self.passes(path), read_graph(path))
        finally:
            path.unlink()
        scale = self._scale(time_of(parts, REFERENCE_NAME, REFERENCE))
        return [time_of(parts, f"t{number}", shape) * scale for number in range(len(points))]

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


def _chunks(shape: Shape, points: Sequence[Point], batch: int) -> Iterator[list[Point]]:
    """Yield points in chunks of bounded work, a file each."""
    chunk: list[Point] = []
    work, most = 0.0, MOST_MACS * max(1.0, batch / LARGE_BATCH)
    for point in points:
        macs = batch * shape.macs(*point)
        if chunk and (len(chunk) == MOST_POINTS or work + macs > most):
            yield chunk
            chunk, work = [], 0.0
        chunk.append(point)
        work += macs
    if chunk:
        yield chunk
