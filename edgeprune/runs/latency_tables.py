"""Build and show latency tables, named by a model, a file or a run."""

from pathlib import Path
from typing import Any

from edgeprune.bench.files import exported_files
from edgeprune.bench.hosts import Host
from edgeprune.bench.options import BenchOptions, check_writable
from edgeprune.errors import LatencyError
from edgeprune.latency.bench_target import LUTS, BenchTarget
from edgeprune.latency.build import build_table
from edgeprune.latency.end_to_end import EndToEndTimer
from edgeprune.latency.energy import unpruned_power
from edgeprune.latency.power import PowerTable, power_place
from edgeprune.latency.power_profiling import PowerMeter, build_power
from edgeprune.latency.shapes import read_model
from edgeprune.latency.table import Table
from edgeprune.latency.utilization import utilization_of
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.records.bench import BenchResult, WidthsReport
from edgeprune.runs.inspection import named_model


def build_latency_table(
    model: str,
    *,
    shape: str | None = None,
    classes: int | None = None,
    device: str | None = None,
    host: Host | None = None,
    runtime: str | None = None,
    precision: str | None = None,
    batch: int = BenchOptions.batch,
    threads: int | None = None,
    out: str | None = None,
    energy: bool = False,
    assume_device: bool = False,
    progress: ProgressCallback = no_progress,
) -> dict[str, Any]:
    """Measure a model's layers on a device and save the table.

    Args:
        model: zoo or torchvision name, a factory, or a run's folder.
        shape: (C, H, W) of an image, as 3x224x224; None for the model's default.
        classes: number of logits; None for the model's default.
        device: name of a device profile; None for this machine.
        host: where to measure; None for this machine.
        runtime: of the runner; None for the first of the device's that it has.
        precision: of the numbers; None for the runtime's usual one.
        batch: images per inference.
        threads: of the runtime; None for the device's default.
        out: file of the table, which is extended if it exists; by default under luts/.
        energy: measure the power of the layers, too, for energy targets; their table is beside that of the times.
        assume_device: measure even though the machine contradicts the profile.
        progress: called with (done, total, text).

    Returns:
        The table as `show` describes it.

    Raises:
        ModelError: no such model.
        ExportError: the model cannot be exported.
        BenchError: the device cannot be reached, or is another one.
        LatencyError: the existing table has other conditions, or no power sensor answers.
    """
    if out:
        check_writable(Path(out))
        if Path(out).exists():
            Table.load(Path(out))  # raises if the table cannot be extended
    module, size = named_model(model, shape, classes)
    site = BenchTarget.reach(
        device, host, runtime=runtime, precision=precision, batch=batch, threads=threads,
        assume_device=assume_device,
    )  # fmt: skip
    place = Path(out) if out else site.lut
    check_writable(place)
    timer = EndToEndTimer(module, size, site)
    unpruned = unpruned_power(timer, progress) if energy else None
    table = build_table(
        timer.onnx_file, site, place, measured_file=lambda: timer.baseline_file, progress=progress
    )
    if unpruned is not None:
        layers = read_model(timer.onnx_file, site.batch)
        build_power(layers, table, PowerMeter(site), unpruned.source, power_place(place), progress)
    return show(str(place))


def show(file: str | None = None) -> dict[str, Any]:
    """Return a table's conditions, and a row for each shape of a layer, with its power where that was measured.

    Args:
        file: the table; None for the latest under luts/.

    Raises:
        LatencyError: there is no table, or it is damaged.
    """
    place = Path(file) if file else _latest()
    table = Table.load(place)
    power = PowerTable.load(power_place(place)) if power_place(place).is_file() else None
    shapes = []
    for key, entry in sorted(table.entries.items()):
        if entry.ms:
            widest = max(entry.ms)
            row = {
                "shape": key,
                "steps": entry.steps,
                "points": len(entry.ms),
                "widest": list(widest),
                "ms": entry.ms[widest],
            }
            if power is not None:
                row["watts"] = power.entries[key].at(*widest) if key in power.entries else None
            shapes.append(row)
    shown = {"file": str(place), "created": table.created, "conditions": table.conditions, "shapes": shapes}
    if power is not None:
        shown["power"] = {
            "file": str(power_place(place)), "conditions": power.conditions, "idle_w": power.idle_w
        }  # fmt: skip
    return shown


def of_run(run: str) -> WidthsReport:
    """Return how the layers of a run's pruned model lie between the latency steps of its device; see `utilization_of`.

    Raises:
        LatencyError: the run was not measured.
    """
    measured = sorted((Path(run) / "bench").glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    if not measured:
        raise LatencyError(f"{run} was not measured yet, so no device is known: edgeprune bench {run}")
    hint = f"measure again with: edgeprune bench {run}"
    result = BenchResult.read(measured[-1], error=LatencyError, hint=hint)
    return utilization_of(exported_files(Path(run)).onnx("pruned"), result)


def _latest() -> Path:
    tables = sorted(LUTS.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    if not tables:
        raise LatencyError(f"no table under {LUTS}/ yet: edgeprune lut build --model NAME")
    return tables[-1]
