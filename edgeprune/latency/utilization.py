"""Report how a model's widths use a device's steps, and which more channels would cost no time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeprune.errors import LatencyError
from edgeprune.latency.bench_target import conditions_of, lut_of
from edgeprune.latency.grid import SAME
from edgeprune.latency.shapes import Model, read_model
from edgeprune.latency.table import Table

Row = dict[str, Any]


def layer_utilization(model: Model, table: Table) -> list[Row]:
    """Return one row for each layer of a model, in the order of execution.

    ``step`` is the multiple that its output channels are best kept at on the device; ``free_to`` the next
    multiple where that takes no longer, None where the layer is aligned or more channels cost time; ``ms`` is
    the table's. A layer that is not in the table has a ``reason`` instead.
    """
    rows = []
    for layer in model.layers:
        row: Row = {
            "layer": layer.name,
            "shape": layer.shape.key,
            "inputs": layer.inputs,
            "outputs": layer.outputs,
            **dict.fromkeys(("step", "ms", "free_to", "reason")),
        }
        entry = table.entries.get(layer.shape.key)
        if entry is None or not entry.ms:
            rows.append({**row, "reason": "not in the table"})
            continue
        step, ms = entry.steps["outputs"], entry.at(layer.inputs, layer.outputs)
        next_multiple = -(-layer.outputs // step) * step
        free = next_multiple > layer.outputs and entry.at(layer.inputs, next_multiple) <= ms * (1 + SAME)
        rows.append({**row, "step": step, "ms": ms, "free_to": next_multiple if free else None})
    return rows


def utilization_of(file: Path | None, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return such rows for a measured model, if the device's table is at its usual path.

    Args:
        file: its ONNX file; None where it was not exported to ONNX.
        result: of the measurement.

    Returns:
        ``lut`` and ``rows``; or ``rows`` None, and the ``reason``.
    """
    settings = {name: result["settings"][name] for name in ("precision", "batch", "threads")}
    device, runtime = result["device"], result["settings"]["runtime"]
    conditions = conditions_of(device["fingerprint"], device["name"], runtime, **settings)
    path = lut_of(conditions)
    report: dict[str, Any] = {"lut": str(path), "rows": None, "reason": None}
    if file is None:
        return {**report, "reason": "the model was not exported to ONNX, from which its layers are read"}
    if not path.is_file():
        return {**report, "reason": f"no latency table {path}: make it with edgeprune lut build"}
    try:
        table = Table.load(path)
        table.check(conditions)
        return {**report, "rows": layer_utilization(read_model(file, conditions["batch"]), table)}
    except LatencyError as error:
        return {**report, "reason": str(error)}
