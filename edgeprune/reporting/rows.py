"""Format results as rows of text: the baseline beside the pruned model, devices, layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from edgeprune.records.bench import (
    BenchResult,
    BoardRow,
    FleetTable,
    LayerRow,
    LayerTimes,
    MeasuredModel,
    RuntimeRow,
    RuntimesTable,
    Settings,
    SkippedRuntime,
    SpeedupRange,
    WidthsReport,
    WidthUse,
)
from edgeprune.records.runs import Summary
from edgeprune.tasks import Metric, metric_of

FILES = {  # what the file of a runtime is called, where its name would not say it
    "onnxruntime": "ONNX file",
    "onnxruntime-web": "ONNX file",
    "onnxruntime-webgpu": "ONNX file",
    "tensorrt": "TensorRT engine",
    "openvino": "OpenVINO file",
    "litert": "LiteRT file",
    "executorch": "ExecuTorch file",
}


@dataclass(frozen=True)
class ComparisonRow:
    """One line of a comparison; ``change`` is the gain or loss of the pruned model."""

    what: str
    baseline: str
    pruned: str
    change: str = ""


def percent(value: float | None, digits: int = 2) -> str:
    """Format a fraction as '12.34 %'.

    Args:
        value: None if it is unknown, which gives '-'.
        digits: after the decimal point.
    """
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def quantity(value: float | None, unit: str, scale: float = 1.0, digits: int = 2) -> str:
    """Format a value with its unit.

    Args:
        value: None if it is unknown, which gives '-'.
        unit: after the number; may be empty.
        scale: what the value is divided by.
        digits: after the decimal point.
    """
    return "-" if value is None else f"{value / scale:,.{digits}f} {unit}".rstrip()


def times(baseline: float | None, pruned: float | None, less: bool = True) -> str:
    """Format a ratio as '2.00x less', '2.00x more', or 'the same' where it rounds to 1.

    Args:
        baseline: the unpruned model's value; None if it is unknown.
        pruned: the pruned model's.
        less: whether a reduction is the expected direction.

    Returns:
        The text; '' if a value is missing or 0.
    """
    if not baseline or not pruned:
        return ""
    ratio = baseline / pruned if less else pruned / baseline
    shown = f"{max(ratio, 1 / ratio):.2f}"
    if shown == "1.00":
        return "the same"
    return f"{shown}x {'less' if (ratio >= 1) == less else 'more'}"


def size_rows(summary: Summary) -> list[ComparisonRow]:
    """Return rows of the task's metric, parameters and FLOPs, from a run's summary."""
    base, pruned = summary.models.baseline, summary.models.pruned
    metric = metric_of(summary)
    before, after = base.score(metric.name), pruned.score(metric.name)
    return [
        ComparisonRow(
            f"{metric.name} ({base.test_images:,} test images)",
            metric.text(before),
            metric.text(after),
            metric.change(before, after),
        ),
        ComparisonRow(
            "parameters",
            f"{base.params:,}",
            f"{pruned.params:,}",
            times(base.params, pruned.params),
        ),
        ComparisonRow(
            "FLOPs (multiply-adds, fvcore)",
            quantity(base.flops, "M", 1e6),
            quantity(pruned.flops, "M", 1e6),
            times(base.flops, pruned.flops),
        ),
    ]


def bench_rows(result: BenchResult) -> list[ComparisonRow]:
    """Return rows of file size, accuracy, latency, throughput, memory and energy, from a measurement.

    Those of one model alone have its values on both sides.
    """
    models = [*result.models.values()]
    base, pruned = models[0], models[-1]
    rows = [_pair("file size", base.size_bytes, pruned.size_bytes, "kB", 1e3)]
    rows += _score_rows(result, base, pruned)
    rows += _parity_rows(base, pruned)
    for name in ("p50", "p99"):
        a, b = getattr(base.latency_ms, name), getattr(pruned.latency_ms, name)
        rows.append(_pair(f"latency {name}, batch {result.settings.batch}", a, b, "ms", digits=3))
    rows.append(
        _pair("throughput", base.throughput_ips, pruned.throughput_ips, "images/s", digits=0, less=False)
    )
    if base.first_ms and pruned.first_ms:
        rows.append(_pair("load the file", median(base.load_ms), median(pruned.load_ms), "ms"))
        rows.append(_pair("first inference", median(base.first_ms), median(pruned.first_ms), "ms"))
    if base.memory_loaded_bytes is not None:
        rows.append(
            _pair("memory once loaded", base.memory_loaded_bytes, pruned.memory_loaded_bytes, "MB", 1e6)
        )
    rows.append(_pair("peak memory", base.memory_peak_bytes, pruned.memory_peak_bytes, "MB", 1e6))
    energies = base.energy_mj_per_inference, pruned.energy_mj_per_inference
    energy = _pair("energy per inference", *energies, "mJ")
    if energies[0] is None:
        energy = ComparisonRow(energy.what, "-", "-", "not measured")
    rows.append(energy)
    return rows


def _score_rows(result: BenchResult, base: MeasuredModel, pruned: MeasuredModel) -> list[ComparisonRow]:
    """Return a row of the task's metric, where both files were scored by it."""
    metric = metric_of(result)
    before, after = base.score(metric.name), pruned.score(metric.name)
    if before is None or after is None:
        return []
    return [
        ComparisonRow(
            f"{metric.name} of the {file_kind(result.settings)}",
            metric.text(before),
            metric.text(after),
            metric.change(before, after),
        )
    ]


def _parity_rows(base: MeasuredModel, pruned: MeasuredModel) -> list[ComparisonRow]:
    """Return a row of how far outputs on the device are from ONNX Runtime's here, where they came back."""
    if base.parity is None or pruned.parity is None:
        return []
    first, second = (f"{parity.max_rel_diff:.1e}" for parity in (base.parity, pruned.parity))
    return [
        ComparisonRow("largest difference from ONNX Runtime here", first, second, f"on {base.parity_inputs}")
    ]


def file_kind(settings: Settings) -> str:
    """Return what a measurement's files are called: 'ONNX file', 'TensorRT engine', 'OpenVINO file in int8'."""
    kind = FILES.get(settings.runtime, f"{settings.runtime} file")
    return kind if settings.precision == "fp32" else f"{kind} in {settings.precision}"


def _pair(
    what: str, a: float | None, b: float | None, unit: str, scale: float = 1.0, digits: int = 2,
    less: bool = True,
) -> ComparisonRow:  # fmt: skip
    before, after = quantity(a, unit, scale, digits), quantity(b, unit, scale, digits)
    return ComparisonRow(what, before, after, times(a, b, less))


def speedup_lines(result: BenchResult) -> list[str]:
    """Format the speedup: 'speedup 1.85x (95 % interval 1.83 to 1.87, 10 pairs of rounds)'; none for one model."""
    s = result.speedup
    if s is None:
        return []
    interval = f"{100 * s.confidence:.0f} % interval {s.low:.2f} to {s.high:.2f}"
    return [f"speedup {s.value:.2f}x ({interval}, {s.pairs} pairs of rounds)"]


def warning_lines(result: BenchResult) -> list[str]:
    """Return the warnings of a measurement, one line each."""
    return [f"{warning.code}: {warning.message}" for warning in result.warnings]


Table = tuple[list[tuple[str, str]], list[list[str]]]
COMMAND = ": edgeprune export "  # behind the reason why a runtime was skipped


def runtimes_table(table: RuntimesTable) -> Table:
    """Return the columns and cells of a run measured with every runtime, the fastest first; see `runtimes_lines`."""
    metric = metric_of(table.rows[0].result)
    scored = f"{metric.name} {metric.unit}".rstrip()
    heads = [("runtime", "left"), *((name, "right") for name in ("size", "latency ms", "speedup", scored))]
    return heads, [_runtime_row(row, metric) for row in table.rows]


def runtimes_lines(table: RuntimesTable) -> list[str]:
    """Return what the cells of the table are, what was not measured and why, and the warnings with their rows."""
    metric, speedup = metric_of(table.rows[0].result), table.rows[0].result.speedup
    confidence = f"{100 * speedup.confidence:.0f} % " if speedup else ""
    about = f"latency (p50) and {metric.name}: baseline -> pruned; ±: {confidence}interval of the speedup"
    warned: dict[str, list[str]] = {}
    for row in table.rows:
        for line in warning_lines(row.result):
            warned.setdefault(line, []).append(f"{row.runtime} {row.precision}")
    warnings = [
        line if len(names) == len(table.rows) else f"{', '.join(names)}: {line}"
        for line, names in warned.items()
    ]
    return [about, *_skipped_lines(table.skipped), *warnings]


def _skipped_lines(skipped: Sequence[SkippedRuntime]) -> list[str]:
    """Return a line for each reason, with an example of its command where each runtime has its own."""
    of_reason: dict[str, list[SkippedRuntime]] = {}
    for entry in skipped:
        of_reason.setdefault(entry.why.partition(COMMAND)[0], []).append(entry)
    lines = []
    for reason, entries in of_reason.items():
        names = ", ".join(f"{entry.runtime} {entry.precision}" for entry in entries)
        command = entries[0].why[len(reason) :]
        if len(entries) > 1 and command:
            command = command.replace(": ", ": each as ", 1)
        lines.append(f"{names} skipped: {reason}{command}")
    return lines


def fleet_table(table: FleetTable) -> Table:
    """Return the columns and cells of a network measured on several boards; see `fleet_lines`."""
    heads = [("host", "left"), ("device", "left"), *((name, "right") for name in ("latency ms", "speedup"))]
    return [*heads, ("warnings", "left")], [_board_row(row) for row in table.rows]


def fleet_lines(table: FleetTable) -> list[str]:
    """Return what the cells of the table are, and each board's warnings, one line each."""
    pairs = [row for row in table.rows if row.result.speedup is not None]
    about = []
    if pairs:
        confidence = {row.result.speedup.confidence for row in pairs if row.result.speedup is not None}
        about = [
            f"latency (p50): baseline -> pruned; in brackets: {100 * min(confidence):.0f} % interval of the speedup"
        ]
    warnings = [f"{row.host}: {line}" for row in table.rows for line in warning_lines(row.result)]
    return [*about, *warnings]


def _board_row(row: BoardRow) -> list[str]:
    result, speedup = row.result, row.result.speedup
    return [
        row.host,
        f"{result.device.name}, {result.settings.runtime} {result.settings.precision}",
        " -> ".join(_four_digits(model.latency_ms.p50) for model in result.models.values()),
        "-" if speedup is None else f"{speedup.value:.2f}x ({speedup.low:.2f} to {speedup.high:.2f})",
        ", ".join(warning.code for warning in result.warnings) or "-",
    ]


def _runtime_row(row: RuntimeRow, metric: Metric) -> list[str]:
    base, pruned = row.result.models["baseline"], row.result.models["pruned"]
    latencies = [_four_digits(model.latency_ms.p50) for model in (base, pruned)]
    scores = [model.score(metric.name) for model in (base, pruned)]
    shown = ["-" if score is None else f"{metric.shown(score):.2f}" for score in scores]
    return [
        f"{row.runtime} {row.precision}",
        _size(pruned.size_bytes),
        " -> ".join(latencies),
        _with_doubt(row.result.speedup),
        "-" if scores == [None, None] else " -> ".join(shown),
    ]


def _with_doubt(speedup: SpeedupRange | None) -> str:
    """Format '1.85x ±0.02': the farther end of the interval."""
    if speedup is None:
        return "-"
    doubt = max(speedup.high - speedup.value, speedup.value - speedup.low)
    return f"{speedup.value:.2f}x ±{doubt:.2f}"


def _four_digits(value: float) -> str:
    return f"{value:.{3 if value < 10 else 2 if value < 100 else 1}f}"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e3:,.0f} kB" if size_bytes < 1e6 else f"{size_bytes / 1e6:,.1f} MB"


TOTALS = {"measured_input": "its input", "rail_sum": "its rails"}  # what a total of power is of


def device_table(rows: list[dict[str, Any]]) -> Table:
    """Return the columns and cells of the list of device profiles."""
    heads = [
        ("name", "left"),
        ("runtimes", "left"),
        ("align", "left"),
        ("RAM, GB", "right"),
        ("power", "left"),
    ]
    cells = [
        [
            row["name"],
            "\n".join(f"{name} {precision}" for name, precision in row["runtimes"].items()),
            "\n".join(f"{precision} {multiple}" for precision, multiple in row["alignment"].items()) or "-",
            "/".join(f"{size:g}" for size in sorted(row["memory_gb"])) or "-",
            "\n".join(TOTALS.get(kind := total.split("=")[0], kind) for total in row["totals"]) or "none",
        ]
        for row in rows
    ]
    return heads, cells


def detection_lines(detection: dict[str, Any]) -> list[str]:
    """Describe the detected device, runtime and power sensors, with warnings, one line each."""
    device = detection["device"]
    lines = [f"device: {device} ({detection['title']})" if device else f"device: {detection['reason']}"]
    runtime = detection["runtime"] or detection["runtime_reason"]
    lines.append(f"runtime: {runtime}")
    for sensor in detection["sensors"]:
        answer = f"answers in {sensor['unit']}" if sensor["answers"] else f"no: {sensor['reason']}"
        lines.append(f"power sensor {sensor['sensor']}: {answer}")
    return lines + [f"{warning['code']}: {warning['message']}" for warning in detection["warnings"]]


def widths_line(utilization: WidthsReport) -> str:
    """Describe which layers lie below a latency step of the device and could have more channels at equal latency."""
    if utilization.rows is None:
        return f"steps of the widths are not known: {utilization.reason}"
    rows = [row for row in utilization.rows if row.step]
    free = [f"{row.layer} {row.outputs} -> {row.free_to}" for row in rows if row.free_to]
    source = f"by {utilization.lut}"
    if not free:
        return f"none of the {len(rows)} layers could have more channels at the same latency, {source}"
    shown = ", ".join(free[:6]) + (f" and {len(free) - 6} more" if len(free) > 6 else "")
    return (
        f"{len(free)} of {len(rows)} layers could have more channels at the same latency, {source}: {shown}"
    )


def widths_table(rows: Sequence[WidthUse]) -> Table:
    """Return columns and cells of layers, their latency steps, and the channel counts of equal latency."""
    heads = [("layer", "left"), ("shape", "left"), ("in", "right"), ("out", "right"), ("step", "right")]
    heads += [("ms", "right"), ("free to", "right")]
    return heads, [
        [
            row.layer,
            row.shape,
            str(row.inputs),
            str(row.outputs),
            str(row.step or row.reason),
            "-" if row.ms is None else f"{row.ms:.4f}",
            str(row.free_to or "-"),
        ]
        for row in rows
    ]


def lut_table(shapes: list[dict[str, Any]]) -> Table:
    """Return columns and cells of a latency table: shapes of layers, the slowest first."""
    heads = [("shape", "left"), ("steps in", "right"), ("out", "right"), ("points", "right")]
    heads += [("widest", "right"), ("ms", "right")]
    powers = any("watts" in shape for shape in shapes)
    if powers:
        heads.append(("W", "right"))
    return heads, [
        [
            shape["shape"],
            str(shape["steps"]["inputs"]),
            str(shape["steps"]["outputs"]),
            str(shape["points"]),
            " -> ".join(map(str, shape["widest"])),
            f"{shape['ms']:.4f}",
            *(["-" if shape["watts"] is None else f"{shape['watts']:.2f}"] if powers else []),
        ]
        for shape in sorted(shapes, key=lambda shape: -shape["ms"])
    ]


def layers_title(comparison: LayerTimes) -> str:
    """Describe the sums over layers, and why they differ from the latency."""
    base, pruned = comparison.total_ms["baseline"], comparison.total_ms["pruned"]
    return f"layer by layer: {base:.3f} ms, pruned {pruned:.3f} ms ({comparison.note})"


def layer_table(comparison: LayerTimes) -> Table:
    """Return columns and cells of a layer comparison: layers by ONNX name, the slowest of the baseline first."""
    heads = [
        ("layer", "left"),
        ("baseline ms", "right"),
        ("pruned ms", "right"),
        ("verdict", "left"),
        ("remarks", "left"),
    ]

    def slowness(row: LayerRow) -> float:
        time = row.baseline or row.pruned
        return 0.0 if time is None else -time.ms

    return heads, [
        [
            " + ".join(row.onnx),
            f"{row.baseline.ms:.4f}" if row.baseline else "-",
            f"{row.pruned.ms:.4f}" if row.pruned else "-",
            row.verdict + (f" ({row.ratio:.2f}x)" if row.ratio else ""),
            "; ".join(layer_remarks(row)),
        ]
        for row in sorted(comparison.rows, key=slowness)
    ]


def layer_remarks(row: LayerRow) -> list[str]:
    """Return remarks on a layer: padding, and reformats that pruning added."""
    times_by_name = {"baseline": row.baseline, "pruned": row.pruned}
    remarks = [f"{name}: {time.padded}" for name, time in times_by_name.items() if time and time.padded]
    if row.gained_reformat and row.pruned:
        remarks.append(f"pruned: gained a reformat, {row.pruned.reformat_ms:.4f} ms")
    return remarks
