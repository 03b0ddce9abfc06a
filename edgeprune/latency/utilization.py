"""Report how a model's widths use a device's steps, and which more channels would cost no time."""

import shlex
from pathlib import Path

from msgspec.structs import replace

from edgeprune.devices import CPU
from edgeprune.errors import LatencyError
from edgeprune.latency.bench_target import conditions_of, lut_of
from edgeprune.latency.grid import SAME
from edgeprune.latency.shapes import Model, read_model
from edgeprune.latency.table import Table
from edgeprune.records.bench import BenchResult, WidthsReport, WidthUse


def layer_utilization(model: Model, table: Table) -> tuple[WidthUse, ...]:
    """Return one row for each layer of a model, in the order of execution.

    ``step`` is the multiple that its output channels are best kept at on the device; ``free_to`` the next
    multiple where that takes no longer, None where the layer is aligned or more channels cost time; ``ms`` is
    the table's. A layer that is not in the table has a ``reason`` instead.
    """
    rows = []
    for layer in model.layers:
        row = WidthUse(layer.name, layer.shape.key, layer.inputs, layer.outputs)
        entry = table.entries.get(layer.shape.key)
        if entry is None or not entry.ms:
            rows.append(replace(row, reason="not in the table"))
            continue
        step, ms = entry.steps["outputs"], entry.at(layer.inputs, layer.outputs)
        next_multiple = -(-layer.outputs // step) * step
        free = next_multiple > layer.outputs and entry.at(layer.inputs, next_multiple) <= ms * (1 + SAME)
        rows.append(replace(row, step=step, ms=ms, free_to=next_multiple if free else None))
    return tuple(rows)


def utilization_of(file: Path | None, result: BenchResult) -> WidthsReport:
    """Return such rows for a measured model, if the device's table is at its usual path.

    Args:
        file: its ONNX file; None where it was not exported to ONNX.
        result: of the measurement.

    Returns:
        With ``rows``; or None for them, and the ``reason``.
    """
    device, settings = result.device, result.settings
    conditions = conditions_of(
        device.fingerprint, device.name, settings.runtime,
        precision=settings.precision, batch=settings.batch, threads=settings.threads,
    )  # fmt: skip
    path = lut_of(conditions)
    if file is None:
        why = "the model was not exported to ONNX, from which its layers are read"
        return WidthsReport(str(path), reason=why)
    if not path.is_file():
        how = _command(file, result)
        made = f"make it with: {how}" if how else "a latency target makes it"
        return WidthsReport(str(path), reason=f"no latency table {path}: {made}")
    try:
        table = Table.load(path)
        table.check(conditions)
        return WidthsReport(str(path), layer_utilization(read_model(file, conditions["batch"]), table))
    except LatencyError as error:
        return WidthsReport(str(path), reason=str(error))


def _command(file: Path, result: BenchResult) -> str | None:
    """Return what builds the table; None where no run says which model the file is of."""
    device, settings = result.device, result.settings
    run = file.parent.parent
    if file.parent.name != "export" or not (run / "config.json").is_file():
        return None
    words = ["edgeprune", "lut", "build", "--model", str(run)]
    if device.name != CPU or device.host:
        words += ["--device", device.name]
    if device.host:
        words += ["--host", device.host]
    if device.assumed:
        words.append("--assume-device")
    words += ["--runtime", settings.runtime, "--precision", settings.precision]
    if settings.batch != 1:
        words += ["--batch", str(settings.batch)]
    if settings.threads != device.fingerprint.get("cores_physical"):
        words += ["--threads", str(settings.threads)]
    return shlex.join(words)
