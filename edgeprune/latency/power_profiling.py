"""Measure the mean power of a device while it runs a file, and build the power table of a model's layers.

A sensor is read some ten times a second, so that no single layer's energy can be measured: a file of copies of one
layer runs for a long window instead, and the mean power of that window is the layer's.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgeprune_target.scratch import scratch_folder

from edgeprune.bench.options import check_writable
from edgeprune.bench.replies import call
from edgeprune.bench.result import energy, inference_mj
from edgeprune.bench.words import model_words, sensor_words
from edgeprune.errors import LatencyError
from edgeprune.files.locks import held_file
from edgeprune.latency.bench_target import BenchTarget
from edgeprune.latency.build import widest
from edgeprune.latency.layer_models import Point
from edgeprune.latency.layer_networks import MOST_COPIES, LayerNetwork, copies_of
from edgeprune.latency.model_files import job_of, write_model
from edgeprune.latency.power import INCLUDED, PowerTable
from edgeprune.latency.shapes import SINGLE, Model, Shape
from edgeprune.latency.table import Table
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.records.bench import EnergySource

WINDOW_S = 3.0  # of a measurement: thirty readings of the slowest sensors, which are read every 0.1 s
NARROW, BETWEEN = 0.25, 0.5  # of the channels: the widths that are measured beside the full one
MOST_WEIGHTS = 4_000_000  # of all copies of a layer
SAME = 0.05  # powers that differ by less need no point between them


@dataclass(frozen=True)
class Power:
    """What a device takes while it runs one file.

    Attributes:
        mj: energy of an inference, the idle power included.
        watts: mean power.
        idle_w: of the machine before; None where it is unknown.
        source: what they count.
    """

    mj: float
    watts: float
    idle_w: float | None
    source: EnergySource


@dataclass
class PowerMeter:
    """Measures files on a device, each in one window of a process of its own.

    Attributes:
        bench_target: the device.
        window_s: how long each file runs.
    """

    bench_target: BenchTarget
    window_s: float = 0.0

    def measure(self, path: Path, what: str, *, keep: bool = False) -> Power:
        """Return what the device takes while it runs a file.

        Args:
            path: of the file.
            what: that is, for messages.
            keep: whether the file stays on the device.

        Raises:
            LatencyError: no sensor answers, or it stopped; says which were asked.
            BenchError: the file could not be run.
        """
        where = self.bench_target
        words = model_words(where.transport, where.device, where.batch, where.threads)
        seconds = ["--seconds", str(self.window_s or WINDOW_S)]
        remote = where.transport.send(path)
        words = ["--model", remote, *words, *seconds, *sensor_words(where.device)]
        try:
            reply = call(where.transport, "measure", words)
        finally:
            if not keep:
                where.transport.remove(remote)
        report: dict[str, Any] = energy([reply])
        if report["energy_reason"] is not None:
            raise LatencyError(f"the energy of {what} cannot be measured: {report['energy_reason']}")
        part = reply["energy"]
        watts = part["gross_j"] / part["window_s"]
        return Power(inference_mj(reply), watts, part["idle_w"], report["energy"])


def build_power(
    model: Model,
    table: Table,
    meter: PowerMeter,
    source: EnergySource,
    place: Path,
    progress: ProgressCallback = no_progress,
) -> PowerTable:
    """Measure the power of a model's layers, and write the table to ``place``.

    An existing table is extended, and saved after each layer, so that one whose build was stopped goes on.

    Args:
        model: the layers of its ONNX file.
        table: their times.
        meter: on the device.
        source: what the device's sensor counts.
        place: of the power table.
        progress: called with ``(done, total, text)``, in layers of different shapes.

    Raises:
        LatencyError: the table there is of another device or sensor, or the sensor stopped.
        ExportError, BenchError: a layer's file cannot be written or run.
        InUseError: another process builds it.
    """
    power = _begun(meter.bench_target, source, place)
    channels = widest(model.layers)
    missing = {shape: most for shape, most in channels.items() if not _covers(power, shape, most)}
    if not missing:
        return power
    check_writable(place)
    with held_file(place), scratch_folder() as folder:
        power = _begun(meter.bench_target, source, place)
        power.created = datetime.now(timezone.utc).isoformat(timespec="seconds")
        for done, (shape, most) in enumerate(missing.items(), len(channels) - len(missing)):
            progress(done, len(channels), f"power of {shape.key}")
            steps = table.entry(shape).steps
            _measure_shape(power, shape, most, (steps["inputs"], steps["outputs"]), meter, Path(folder))
            power.save(place)
    progress(len(channels), len(channels), "power of layers measured")
    return power


def _begun(where: BenchTarget, source: EnergySource, place: Path) -> PowerTable:
    """Return the table at ``place``, or an empty one."""
    if place.exists():
        power = PowerTable.load(place)
        power.check(where.conditions, source, place)
        return power
    conditions = {
        **where.conditions, "sensor": source.sensor, "total_kind": source.total_kind,
        "total_rails": list(source.total_rails), "idle": INCLUDED,
    }  # fmt: skip
    return PowerTable(conditions)


def _covers(power: PowerTable, shape: Shape, most: Point) -> bool:
    """Return whether a shape's power was measured up to these widths."""
    entry = power.entries.get(shape.key)
    return entry is not None and any(a >= most[0] and b >= most[1] for a, b in entry.watts)


def _measure_shape(
    power: PowerTable, shape: Shape, most: Point, steps: Point, meter: PowerMeter, folder: Path
) -> None:
    """Measure one shape at its full width, a narrow one, and between them where these differ.

    Args:
        power: that is added to; nothing is before all of the shape's widths are measured.
        shape: of the layer.
        most: (inputs, outputs) of the widest.
        steps: multiples that its widths are kept at.
        meter: on the device.
        folder: for files.
    """
    full, narrow = most, _part(shape, most, steps, NARROW)
    watts: dict[Point, float] = {}

    def add(point: Point) -> None:
        if point not in watts:
            measured = meter.measure(
                _written(shape, point, meter.bench_target, folder), f"{shape.key} with {point} channels"
            )
            watts[point] = measured.watts
            if power.idle_w is None:
                power.idle_w = measured.idle_w

    add(full)
    add(narrow)
    if abs(watts[narrow] - watts[full]) > SAME * watts[full]:
        add(_part(shape, most, steps, BETWEEN))
    power.entry(shape).watts.update(watts)


def _part(shape: Shape, most: Point, steps: Point, share: float) -> Point:
    """Return a share of a layer's channels, in steps; the channels of images stay."""
    inputs, outputs = (
        min(width, max(step, round(share * width / step) * step))
        for width, step in zip(most, steps, strict=True)
    )
    if shape.op in SINGLE:
        return outputs, outputs
    return most[0] if shape.raw else inputs, outputs


def _written(shape: Shape, point: Point, where: BenchTarget, folder: Path) -> Path:
    """Write a network of copies of a layer for the device's runtime."""
    for file in folder.glob("layer.*"):
        file.unlink()
    # As many copies as make all else in the file hardly count, in files that are not too large to be sent.
    weights = math.prod(shape.kernel) * (point[1] if shape.op in SINGLE else point[0] * point[1])
    copies = max(copies_of(shape, point), min(MOST_COPIES, MOST_WEIGHTS // weights))
    network = LayerNetwork(shape, point, copies)
    job = job_of(network.eval(), "layer", network.shape, folder, where.batch)
    return write_model(where.backend, job, where.batch, quickly=True)
