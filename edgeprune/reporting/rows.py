"""What a person reads: the baseline beside the pruned model, as rows of text."""

from dataclasses import dataclass
from typing import Any

from edgeprune.tasks import metric_of


@dataclass(frozen=True)
class Row:
    """One line of a comparison; ``change`` says what the pruned model gained or lost."""

    what: str
    baseline: str
    pruned: str
    change: str = ""


def percent(value: float | None) -> str:
    """A share as '12.34 %'; '-' when it is not known."""
    return "-" if value is None else f"{100 * value:.2f} %"


def quantity(value: float | None, unit: str, scale: float = 1.0, digits: int = 2) -> str:
    """A value in ``unit``; '-' when it is not known."""
    return "-" if value is None else f"{value / scale:,.{digits}f} {unit}".rstrip()


def times(baseline: float | None, pruned: float | None, less: bool = True) -> str:
    """'2.00x less' (or 'more'), from two values; '' when one is missing."""
    if not baseline or not pruned:
        return ""
    ratio = baseline / pruned if less else pruned / baseline
    word = "less" if less else "more"
    return f"{ratio:.2f}x {word}" if ratio >= 1 else f"{1 / ratio:.2f}x {'more' if less else 'less'}"


def size_rows(summary: dict[str, Any]) -> list[Row]:
    """The task's metric, parameters and FLOPs of a run's summary."""
    base, pruned = summary["models"]["baseline"], summary["models"]["pruned"]
    metric = metric_of(summary)
    before, after = base[metric.name], pruned[metric.name]
    change, unit = metric.scale * (after - before), "points" if metric.unit == "%" else metric.unit
    return [
        Row(
            f"{metric.name} ({base['test_images']:,} test images)",
            metric.text(before),
            metric.text(after),
            f"{change:+.2f} {unit}".rstrip(),
        ),
        Row(
            "parameters",
            f"{base['params']:,}",
            f"{pruned['params']:,}",
            times(base["params"], pruned["params"]),
        ),
        Row(
            "FLOPs (multiply-adds, fvcore)",
            quantity(base["flops"], "M", 1e6),
            quantity(pruned["flops"], "M", 1e6),
            times(base["flops"], pruned["flops"]),
        ),
    ]


def bench_rows(result: dict[str, Any]) -> list[Row]:
    """File size, accuracy of the files, latency, throughput, memory and energy of a measurement."""
    base, pruned = result["models"]["baseline"], result["models"]["pruned"]
    rows = [_pair("file size", base, pruned, "size_bytes", "kB", 1e3)]
    if base.get("accuracy") is not None and pruned.get("accuracy") is not None:
        change = f"{100 * (pruned['accuracy'] - base['accuracy']):+.2f} points"
        rows.append(
            Row("accuracy of the ONNX file", percent(base["accuracy"]), percent(pruned["accuracy"]), change)
        )
    for name in ("p50", "p99"):
        a, b = base["latency_ms"][name], pruned["latency_ms"][name]
        label = f"latency {name}, batch {result['settings']['batch']}"
        rows.append(Row(label, quantity(a, "ms", digits=3), quantity(b, "ms", digits=3), times(a, b)))
    rows.append(_pair("throughput", base, pruned, "throughput_ips", "images/s", 1.0, 0, less=False))
    rows.append(_pair("peak memory", base, pruned, "memory_peak_bytes", "MB", 1e6))
    energy = _pair("energy per inference", base, pruned, "energy_mj_per_inference", "mJ", 1.0)
    if base["energy_mj_per_inference"] is None:
        energy = Row(energy.what, "-", "-", "not measured")
    rows.append(energy)
    return rows


def _pair(
    what: str, base: Any, pruned: Any, key: str, unit: str, scale: float, digits: int = 2, less: bool = True
) -> Row:
    a, b = base[key], pruned[key]
    return Row(what, quantity(a, unit, scale, digits), quantity(b, unit, scale, digits), times(a, b, less))


def speedup_line(result: dict[str, Any]) -> str:
    """'speedup 1.85x (95 % interval 1.83 to 1.87, 10 pairs of rounds)'."""
    s = result["speedup"]
    interval = f"{100 * s['confidence']:.0f} % interval {s['low']:.2f} to {s['high']:.2f}"
    return f"speedup {s['value']:.2f}x ({interval}, {s['pairs']} pairs of rounds)"


def remarks(result: dict[str, Any]) -> list[str]:
    """The measurement's warnings, energy's reason among them."""
    return [f"{warning['code']}: {warning['message']}" for warning in result["warnings"]]


Table = tuple[list[tuple[str, str]], list[list[str]]]


def device_table(rows: list[dict[str, Any]]) -> Table:
    """Columns and cells of the list of device profiles."""
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


def detection_lines(found: dict[str, Any]) -> list[str]:
    """What this machine is, in lines."""
    lines = [
        f"device: {found['device']} ({found['title']})" if found["device"] else f"device: {found['reason']}"
    ]
    runtime = found["runtime"] or found["runtime_reason"]
    lines.append(f"runtime: {runtime}")
    for sensor in found["sensors"]:
        answer = f"answers in {sensor['unit']}" if sensor["answers"] else f"no: {sensor['reason']}"
        lines.append(f"power sensor {sensor['sensor']}: {answer}")
    return lines + [f"{warning['code']}: {warning['message']}" for warning in found["warnings"]]


def widths_line(found: dict[str, Any]) -> str:
    """Which layers stand between two steps of the device, and what they might have for nothing."""
    if found["rows"] is None:
        return f"steps of the widths are not known: {found['reason']}"
    rows = [row for row in found["rows"] if row["step"]]
    free = [f"{row['layer']} {row['outputs']} -> {row['free_to']}" for row in rows if row["free_to"]]
    if not free:
        return f"none of the {len(rows)} layers could be wider at the same time, by {found['lut']}"
    shown = ", ".join(free[:6]) + (f" and {len(free) - 6} more" if len(free) > 6 else "")
    return f"{len(free)} of {len(rows)} layers could be wider at the same time, by {found['lut']}: {shown}"


def widths_table(rows: list[dict[str, Any]]) -> Table:
    """Columns and cells: layers, the steps they stand on, and which widths would be free."""
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
    """Columns and cells: shapes of layers, the slowest first."""
    heads = [("shape", "left"), ("steps in", "right"), ("out", "right"), ("points", "right")]
    heads += [("widest", "right"), ("ms", "right")]
    return heads, [
        [
            one["shape"],
            str(one["steps"]["inputs"]),
            str(one["steps"]["outputs"]),
            str(one["points"]),
            " -> ".join(map(str, one["widest"])),
            f"{one['ms']:.4f}",
        ]
        for one in sorted(shapes, key=lambda one: -one["ms"])
    ]


def layers_title(found: dict[str, Any]) -> str:
    """The sums, and why they are not the latency."""
    base, pruned = found["total_ms"]["baseline"], found["total_ms"]["pruned"]
    return f"layer by layer: {base:.3f} ms, pruned {pruned:.3f} ms ({found['note']})"


def layer_table(found: dict[str, Any]) -> Table:
    """Columns and cells: layers by ONNX name, the slowest of the baseline first."""
    heads = [
        ("layer", "left"),
        ("baseline ms", "right"),
        ("pruned ms", "right"),
        ("verdict", "left"),
        ("remarks", "left"),
    ]
    rows = sorted(found["rows"], key=lambda row: -(row["baseline"] or row["pruned"])["ms"])
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
    """What stands out: padding, and changes of format that pruning brought."""
    remarks = [
        f"{name}: {row[name]['padded']}"
        for name in ("baseline", "pruned")
        if row[name] is not None and row[name]["padded"]
    ]
    if row["gained_reformat"]:
        remarks.append(f"pruned: gained a reformat, {row['pruned']['reformat_ms']:.4f} ms")
    return remarks
