"""Time layers on a runtime that times complete files alone: what lies around a layer is timed, too, and taken off.

The files are written by the runtime's own `Backend`, in its precision, and run by the runner's `Runtime`. A new
runtime needs no further code here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from edgeprune.bench.replies import call
from edgeprune.bench.words import model_words
from edgeprune.latency.bench_target import BenchTarget
from edgeprune.latency.grid import COARSE, Sampling
from edgeprune.latency.layer_models import FEED, REFERENCE, REFERENCE_POINT, Layer
from edgeprune.latency.layer_networks import Feed, LayerNetwork, TimedNetwork, around, copies_of
from edgeprune.latency.model_files import job_of, write_model
from edgeprune.latency.profiling import LEAST_MS, ModelFiles
from edgeprune.latency.shapes import Model
from edgeprune.latency.table import Table

POINTS_PER_CALL = 12  # the reference is timed once in each


@dataclass
class FileProfiler:
    """Times layers; ``reference_ms`` is set by the first call, and all others are scaled to it.

    Each call of the runner times the same reference network, by which a machine that changes its speed divides out.
    """

    bench_target: BenchTarget
    folder: Path
    reference_ms: float | None = None
    sampling: ClassVar[Sampling] = COARSE
    _known: dict[str, float] = field(
        default_factory=dict
    )  # what a network around layers takes, by its description
    _reference: Path | None = None
    _written: int = 0

    def chunks(self, layers: Sequence[Layer]) -> Iterator[list[Layer]]:
        """Yield layers in chunks that one call of the runner times."""
        for start in range(0, len(layers), POINTS_PER_CALL):
            yield list(layers[start : start + POINTS_PER_CALL])

    def times(self, layers: Sequence[Layer]) -> list[float]:
        """Return each layer's time in ms.

        Raises:
            ExportError, BenchError: a file could not be written, or not be run.
        """
        self._know([network for layer in layers for network in around(*layer)])
        networks = [LayerNetwork(*layer) for layer in layers]
        times_ms = []
        for (shape, point), ms in zip(layers, self._networks_ms(networks), strict=True):
            first, *added = (self._known[described(network)] for network in around(shape, point))
            rest = ms - first - sum(max(0.0, other - self._call_ms()) for other in added)
            times_ms.append(max(rest / copies_of(shape, point), LEAST_MS))
        return times_ms

    def others(self, model: Model, table: Table, files: ModelFiles) -> dict[str, float]:
        """Return ms per channel by operation and size, of all but the layers.

        They share what the model takes beyond its layers and the call itself, by the numbers that each writes.

        Args:
            model: the layers and other operations.
            table: with the times of the layers.
            files: of the model.
        """
        if not model.others:
            return {}
        (ms,) = self._measured([files.measured()])
        layers = sum(table.entry(layer.shape).at(layer.inputs, layer.outputs) for layer in model.layers)
        rest = max(0.0, ms - self._call_ms() - layers)
        share = rest / sum(other.area * other.channels for other in model.others)
        return {other.key: share * other.area for other in model.others}

    def _call_ms(self) -> float:
        """Return what running a file takes where there is next to nothing to compute."""
        least = Feed((), FEED)
        self._know([least])
        return self._known[described(least)]

    def _know(self, networks: Sequence[TimedNetwork]) -> None:
        """Time networks that were not timed yet."""
        new = {described(network): network for network in networks}
        missing = {key: network for key, network in new.items() if key not in self._known}
        if missing:
            self._known.update(zip(missing, self._networks_ms(list(missing.values())), strict=True))

    def _networks_ms(self, networks: Sequence[TimedNetwork]) -> list[float]:
        """Write networks, time them and remove their files."""
        paths = [self._write(network) for network in networks]
        try:
            return self._measured(paths)
        finally:
            for path in paths:
                self._remove(path)

    def _write(self, network: TimedNetwork) -> Path:
        self._written += 1
        where = self.bench_target
        job = job_of(network.eval(), f"samples{self._written}", network.shape, self.folder, where.batch)
        return write_model(where.backend, job, where.batch, quickly=True)

    def _measured(self, paths: Sequence[Path]) -> list[float]:
        """Return the ms of each file, as if the machine were as fast as when the first was timed."""
        if self._reference is None:
            self._reference = self._write(LayerNetwork(REFERENCE, REFERENCE_POINT))
        where = self.bench_target
        remotes = [where.transport.send(path) for path in (self._reference, *paths)]
        words = model_words(where.transport, where.device, where.batch, where.threads)
        try:
            reference, *times_ms = call(where.transport, "times", ["--models", *remotes, *words])["times_ms"]
        finally:
            for remote in remotes:
                where.transport.remove(remote)
        if self.reference_ms is None:
            self.reference_ms = reference
        return [ms * self.reference_ms / reference for ms in times_ms]

    def _remove(self, path: Path) -> None:
        name = path.name.split(".")[0]
        for file in self.folder.glob(f"{name}.*"):
            file.unlink()


def described(network: TimedNetwork) -> str:
    """Return what tells a network around layers from others: its modules with their sizes, and its input's shape."""
    return f"{network} {network.shape}"
