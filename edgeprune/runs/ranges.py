"""Say what targets of a network can reach: by its costs, and by the latency tables that are there."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeprune_target.scratch import scratch_folder
from torch import Tensor

from edgeprune.backends.onnx_export import export_model
from edgeprune.budget.ranges import Range, reachable
from edgeprune.errors import EdgePruneError, LatencyError
from edgeprune.graph.classes import Graph
from edgeprune.latency.bench_target import LUTS
from edgeprune.latency.blocks import removable
from edgeprune.latency.build import knows
from edgeprune.latency.estimator import LatencyEstimator, LatencyOn
from edgeprune.latency.shapes import read_model
from edgeprune.latency.table import Table
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.reporting.rows import Table as Rows
from edgeprune.reporting.rows import percent
from edgeprune.resources import get

COUNTED = ("flops", "params", "memory")
UNITS = {"flops": ("M", 1e6), "params": ("", 1.0), "memory": ("MB", 1e6), "latency": ("ms", 1.0)}


def ranges_of(
    graph: Graph, lut: str | None = None, progress: ProgressCallback = no_progress
) -> list[dict[str, Any]]:
    """Return the range of each kind of target as JSON; of latency for each table that knows all of the layers.

    Args:
        graph: of the unpruned network.
        lut: a latency table; None for all under luts/.
        progress: called with (done, total, text).

    Raises:
        LatencyError: ``lut`` is damaged, or lacks some of the network's layers.
    """
    places = [Path(lut)] if lut else sorted(LUTS.glob("*.json"))
    tables = {place: Table.load(place) for place in places}
    progress(0, 2, "ranges of targets")
    ranges = [{**reachable(graph, get(kind)).to_dict(), "table": None} for kind in COUNTED]
    if not tables:
        return ranges
    progress(1, 2, "ranges of latency")
    by_table = _latencies(graph, tables, required=lut is not None)
    return [*ranges, *({**item.to_dict(), "table": str(place)} for place, item in by_table)]


def _latencies(graph: Graph, tables: dict[Path, Table], *, required: bool) -> list[tuple[Path, Range]]:
    """Return the range by each table that covers the network; a ``required`` one that does not is an error."""
    image = graph.inputs[0] if len(graph.inputs) == 1 else None
    if not isinstance(image, Tensor) or image.dim() != 4:
        if required:
            raise LatencyError("latency tables are for networks that take a batch of images: leave `lut` out")
        return []
    blocks = removable(graph)
    ranges = []
    with scratch_folder() as folder:
        try:
            file = export_model(graph.model, tuple(image.shape[1:]), Path(folder) / "model.onnx").path
        except EdgePruneError:
            if required:
                raise
            return []
        for place, table in tables.items():
            model = read_model(file, int(table.conditions["batch"]))
            if knows(table, model):
                resource = LatencyOn(LatencyEstimator(graph, model, table))
                ranges.append((place, reachable(graph, resource, blocks=blocks)))
            elif required:
                raise LatencyError(
                    f"{place} lacks some layers of this network: edgeprune lut build adds them"
                )
    return ranges


def range_rows(ranges: Sequence[dict[str, Any]]) -> Rows:
    """Return the columns and cells of the table of ranges."""
    heads = [("target", "left"), ("unpruned", "right"), ("smallest", "right"), ("largest below 1", "right")]
    cells = []
    for item in ranges:
        unit, scale = UNITS[item["kind"]]
        amount = f"{item['unpruned'] / scale:,.{0 if scale == 1 and not unit else 2}f} {unit}".rstrip()
        name = item["kind"] if item["table"] is None else f"{item['kind']} by {item['table']}"
        cells.append([name, amount, percent(item["smallest"]), percent(item["largest"])])
    return heads, cells
