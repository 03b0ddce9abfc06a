"""Format results as rows of text: the baseline beside the pruned model, devices, layers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgeprune.tasks import metric_of


@dataclass(frozen=True)
class ComparisonRow:
    """One line of a comparison; ``change`` is the gain or loss of the pruned model."""

    what: str
    baseline: str
    pruned: str
    change: str = ""


def percent(value: float | None) -> str:
    """Format a fraction as '12.34 %'; '-' if it is unknown."""
    return "-" if value is None else f"{100 * value:.2f} %"


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
    """Format a ratio as '2.00x less' or '2.00x more'.

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
    word = "less" if less else "more"
    return f"{ratio:.2f}x {word}" if ratio >= 1 else f"{1 / ratio:.2f}x {'more' if less else 'less'}"


def size_rows(summary: dict[str, Any]) -> list[ComparisonRow]:
    """Return rows of the task's metric, parameters and FLOPs, from a run's summary."""
    base, pruned = summary["models"]["baseline"], summary["models"]["pruned"]
    metric = metric_of(summary)
    before, after = base[metric.name], pruned[metric.name]
    return [
        ComparisonRow(
            f"{metric.name} ({base['test_images']:,} test images)",
            metric.text(before),
            metric.text(after),
            metric.change(before, after),
        ),
        ComparisonRow(
            "parameters",
            f"{base['params']:,}",
            f"{pruned['params']:,}",
            times(base["params"], pruned["params"]),
        ),
        ComparisonRow(
            "FLOPs (multiply-adds, fvcore)",
            quantity(base["flops"], "M", 1e6),
            quantity(pruned["flops"], "M", 1e6),
            times(base["flops"], pruned["flops"]),
        ),
    ]


def bench_rows(result: dict[str, Any]) -> list[ComparisonRow]:
    """Return rows of file size, accuracy, latency, throughput, memory and energy, from a measurement.

    Those of one model alone have its values on both sides.
    """
    models = [*result["models"].values()]
    base, pruned = models[0], models[-1]
    rows = [_pair("file size", base, pruned, "size_bytes", "kB", 1e3)]
    rows += _score_rows(result.get("metric"), base, pruned)
    for name in ("p50", "p99"):
        a, b = base["latency_ms"][name], pruned["latency_ms"][name]
        label = f"latency {name}, batch {result['settings']['batch']}"
        rows.append(
            ComparisonRow(label, quantity(a, "ms", digits=3), quantity(b, "ms", digits=3), times(a, b))
        )
    rows.append(_pair("throughput", base, pruned, "throughput_ips", "images/s", 1.0, 0, less=False))
    rows.append(_pair("peak memory", base, pruned, "memory_peak_bytes", "MB", 1e6))
    energy = _pair("energy per inference", base, pruned, "energy_mj_per_inference", "mJ", 1.0)
    if base["energy_mj_per_inference"] is None:
        energy = ComparisonRow(energy.what, "-", "-", "not measured")
    rows.append(energy)
    return rows


def _score_rows(metric: dict[str, Any] | None, base: Any, pruned: Any) -> list[ComparisonRow]:
    """Return a row of the task's metric, where both files were scored by it."""
    metric_of_task = metric_of({"metric": metric})
    values = []
    for model in (base, pruned):
        # Results of earlier versions have the accuracy alone.
        value = (model.get("scores") or {}).get(metric_of_task.name, model.get(metric_of_task.name))
        if value is None:
            return []
        values.append(value)
    before, after = values
    return [
        ComparisonRow(
            f"{metric_of_task.name} of the ONNX file",
            metric_of_task.text(before),
            metric_of_task.text(after),
            metric_of_task.change(before, after),
        )
    ]


def _pair(
    what: str, base: Any, pruned: Any, key: str, unit: str, scale: float, digits: int = 2, less: bool = True
) -> ComparisonRow:
    a, b = base[key], pruned[key]
    return ComparisonRow(
        what, quantity(a, unit, scale, digits), quantity(b, unit, scale, digits), times(a, b, less)
    )


def speedup_lines(result: dict[str, Any]) -> list[str]:
    """Format the speedup: 'speedup 1.85x (95 % interval 1.83 to 1.87, 10 pairs of rounds)'; none for one model."""
    s = result["speedup"]
    if s is None:
        return []
    interval = f"{100 * s['confidence']:.0f} % interval {s['low']:.2f} to {s['high']:.2f}"
    return [f"speedup {s['value']:.2f}x ({interval}, {s['pairs']} pairs of rounds)"]


def warning_lines(result: dict[str, Any]) -> list[str]:
    """Return the warnings of a measurement or detection, one line each."""
    return [f"{warning['code']}: {warning['message']}" for warning in result["warnings"]]


Table = tuple[list[tuple[str, str]], list[list[str]]]


def runtimes_table(table: dict[str, Any]) -> Table:
    """Return the columns and cells of a run measured with every runtime, the fastest first."""
    heads = [("runtime", "left"), ("precision", "left"), ("size", "right"), ("baseline ms", "right")]
    heads += [("pruned ms", "right"), ("speedup (95 % interval)", "right")]
    rows = table["rows"]
    metric = metric_of({"metric": rows[0]["result"].get("metric")})
    heads += [(f"{metric.name}, baseline", "right"), (f"{metric.name}, pruned", "right")]
    return heads, [_runtime_row(row, metric.name, metric.text) for row in rows]


def _runtime_row(row: dict[str, Any], metric: str, text: Callable[[float], str]) -> list[str]:
    result = row["result"]
    base, pruned = result["models"]["baseline"], result["models"]["pruned"]
    scores = [(model.get("scores") or {}).get(metric, model.get(metric)) for model in (base, pruned)]
    speed = result["speedup"]
    return [
        *(row["runtime"], row["precision"], quantity(pruned["size_bytes"], "kB", 1e3)),
        *(f"{model['latency_ms']['p50']:.3f}" for model in (base, pruned)),
        f"{speed['value']:.2f}x ({speed['low']:.2f} to {speed['high']:.2f})",
        *("-" if score is None else text(score) for score in scores),
    ]


def skipped_lines(table: dict[str, Any]) -> list[str]:
    """Return a line for each runtime that was not measured."""
    return [f"{entry['runtime']} {entry['precision']} skipped: {entry['why']}" for entry in table["skipped"]]


def device_table(rows: list[dict[str, Any]]) -> Table:
    """Return the columns and cells of the list of device profiles."""
    heads = [
        ("name", "left"),
        ("runtimes", "left"),
        ("multiples of", "left"),
        ("memory", "right"),
        ("power", "left"),
    ]
    cells = [
        [
            row["name"],
            "\n".join(f"{name} {precision}" for name, precision in row["runtimes"].items()),
            "\n".join(f"{precision} {multiple}" for precision, multiple in row["alignment"].items()) or "-",
            ", ".join(f"{size:g}" for size in row["memory_gb"]) + " GB" if row["memory_gb"] else "-",
            "\n".join(total.split("=")[0] for total in row["totals"]) or "none",
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
    return lines + warning_lines(detection)


def widths_line(utilization: dict[str, Any]) -> str:
    """Describe which layers lie below a latency step of the device and could have more channels at equal latency."""
    if utilization["rows"] is None:
        return f"steps of the widths are not known: {utilization['reason']}"
    rows = [row for row in utilization["rows"] if row["step"]]
    free = [f"{row['layer']} {row['outputs']} -> {row['free_to']}" for row in rows if row["free_to"]]
    source = f"by {utilization['lut']}"
    if not free:
        return f"none of the {len(rows)} layers could have more channels at the same latency, {source}"
    shown = ", ".join(free[:6]) + (f" and {len(free) - 6} more" if len(free) > 6 else "")
    return (
        f"{len(free)} of {len(rows)} layers could have more channels at the same latency, {source}: {shown}"
    )


def widths_table(rows: list[dict[str, Any]]) -> Table:
    """Return columns and cells of layers, their latency steps, and the channel counts of equal latency."""
    heads = [("layer", "left"), ("shape", "left"), ("in", "right"), ("out", "right"), ("step", "right")]
    heads += [("ms", "right"), ("free to", "right")]
    return heads, [
        [
            row["layer"],
            row["shape"],
            str(row["inputs"]),
            str(row["outputs"]),
            str(row["step"]) if row["step"] else row["reason"],
            "-" if row["ms"] is None else f"{row['ms']:.4f}",
            str(row["free_to"] or "-"),
        ]
        for row in rows
    ]


def lut_table(shapes: list[dict[str, Any]]) -> Table:
    """Return columns and cells of a latency table: shapes of layers, the slowest first."""
    heads = [("shape", "left"), ("steps in", "right"), ("out", "right"), ("points", "right")]
    heads += [("widest", "right"), ("ms", "right")]
    return heads, [
        [
            shape["shape"],
            str(shape["steps"]["inputs"]),
            str(shape["steps"]["outputs"]),
            str(shape["points"]),
            " -> ".join(map(str, shape["widest"])),
            f"{shape['ms']:.4f}",
        ]
        for shape in sorted(shapes, key=lambda shape: -shape["ms"])
    ]


def layers_title(comparison: dict[str, Any]) -> str:
    """Describe the sums over layers, and why they differ from the latency."""
    base, pruned = comparison["total_ms"]["baseline"], comparison["total_ms"]["pruned"]
    return f"layer by layer: {base:.3f} ms, pruned {pruned:.3f} ms ({comparison['note']})"


def layer_table(comparison: dict[str, Any]) -> Table:
    """Return columns and cells of a layer comparison: layers by ONNX name, the slowest of the baseline first."""
    heads = [
        ("layer", "left"),
        ("baseline ms", "right"),
        ("pruned ms", "right"),
        ("verdict", "left"),
        ("remarks", "left"),
    ]
    rows = sorted(comparison["rows"], key=lambda row: -(row["baseline"] or row["pruned"])["ms"])
    return heads, [
        [
            " + ".join(row["onnx"]),
            f"{row['baseline']['ms']:.4f}" if row["baseline"] else "-",
            f"{row['pruned']['ms']:.4f}" if row["pruned"] else "-",
            row["verdict"] + (f" ({row['ratio']:.2f}x)" if row["ratio"] else ""),
            "; ".join(layer_remarks(row)),
        ]
        for row in rows
    ]


def layer_remarks(row: dict[str, Any]) -> list[str]:
    """Return remarks on a layer: padding, and reformats that pruning added."""
    remarks = [
        f"{name}: {row[name]['padded']}"
        for name in ("baseline", "pruned")
        if row[name] is not None and row[name]["padded"]
    ]
    if row["gained_reformat"]:
        remarks.append(f"pruned: gained a reformat, {row['pruned']['reformat_ms']:.4f} ms")
    return remarks
