"""Rows of a comparison, against values worked out by hand."""

from typing import Any

import pytest
from measured import MODEL, changed

from edgeprune.records.bench import BenchResult, RuntimeRow, RuntimesTable, SkippedRuntime
from edgeprune.records.runs import Summary
from edgeprune.reporting.console import print_table
from edgeprune.reporting.rows import (
    ComparisonRow,
    bench_rows,
    percent,
    quantity,
    runtimes_lines,
    runtimes_table,
    size_rows,
    speedup_lines,
    times,
    warning_lines,
)


@pytest.mark.parametrize(
    ("baseline", "pruned", "less", "message"),
    [
        (4.0, 2.0, True, "2.00x less"),
        (2.0, 4.0, True, "2.00x more"),
        (100.0, 150.0, False, "1.50x more"),
        (150.0, 100.0, False, "1.50x less"),
        (1.0, 1.0, True, "the same"),
        (1.0, 1.004, True, "the same"),
        (None, 1.0, True, ""),
        (1.0, None, False, ""),
        (0.0, 1.0, True, ""),
    ],
)
def test_times(baseline: float | None, pruned: float | None, less: bool, message: str) -> None:
    assert times(baseline, pruned, less) == message


def test_unknown_values_are_a_dash_and_never_zero() -> None:
    assert percent(None) == quantity(None, "mJ") == "-"
    assert percent(0.93451) == "93.45 %"
    assert quantity(1_234_567, "kB", 1e3) == "1,234.57 kB"


ABOUT = {"test_images": 1000, "size_bytes": 1}
BASELINE = {**ABOUT, "accuracy": 0.9, "params": 200, "flops": 4_000_000}
PRUNED = {**ABOUT, "accuracy": 0.885, "params": 50, "flops": 2_000_000}
SUMMARY = Summary.from_dict(
    {
        "schema": 1,
        "target": {"kind": "flops", "asked": "flops=0.5", "fraction": 0.5, "got_fraction": 0.5},
        "params_fraction": 0.25,
        "flops_fraction": 0.5,
        "accuracy_drop": 0.015,
        "models": {"baseline": BASELINE, "settled": PRUNED, "pruned": PRUNED},
        "notes": [],
    }
)


def test_size_rows() -> None:
    assert size_rows(SUMMARY) == [
        ComparisonRow("accuracy (1,000 test images)", "90.00 %", "88.50 %", "-1.50 points"),
        ComparisonRow("parameters", "200", "50", "4.00x less"),
        ComparisonRow("FLOPs (multiply-adds, fvcore)", "4.00 M", "2.00 M", "2.00x less"),
    ]


def result(energy: float | None = None, accuracy: float | None = None, *more: Any) -> BenchResult:
    latencies = {"baseline": 2.0, "pruned": 1.0}
    models = {
        name: {
            **MODEL,
            "accuracy": accuracy,
            "latency_ms": {"p50": p50, "p90": p50, "p99": 2 * p50, "mean": p50},
            "throughput_ips": 1000 / p50,
            "energy_mj_per_inference": energy,
        }
        for name, p50 in latencies.items()
    }
    warnings = [{"code": "noisy", "message": "close other programs"}]
    speedup = {"value": 2.0, "low": 1.9, "high": 2.15}
    return changed("models", models, "speedup", speedup, "warnings", warnings, *more)


def test_bench_rows() -> None:
    rows = {row.what: row for row in bench_rows(result())}
    assert rows["latency p50, batch 1"] == ComparisonRow(
        "latency p50, batch 1", "2.000 ms", "1.000 ms", "2.00x less"
    )
    assert rows["throughput"].change == "2.00x more"
    assert rows["peak memory"] == ComparisonRow("peak memory", "-", "-", "")
    assert rows["energy per inference"] == ComparisonRow("energy per inference", "-", "-", "not measured")
    assert "accuracy of the ONNX file" not in rows


def test_bench_rows_with_energy_and_accuracy() -> None:
    rows = {row.what: row for row in bench_rows(result(energy=3.0, accuracy=0.5))}
    assert rows["energy per inference"].baseline == "3.00 mJ"
    assert rows["accuracy of the ONNX file"].change == "+0.00 points"


def test_lines_below_the_table() -> None:
    assert speedup_lines(result()) == ["speedup 2.00x (95 % interval 1.90 to 2.15, 8 pairs of rounds)"]
    assert speedup_lines(result(None, None, "speedup", None)) == []
    assert warning_lines(result()) == ["noisy: close other programs"]


@pytest.mark.parametrize(
    ("runtime", "precision", "name"),
    [
        ("onnxruntime", "fp32", "accuracy of the ONNX file"),
        ("onnxruntime", "int8", "accuracy of the ONNX file in int8"),
        ("tensorrt", "fp16", "accuracy of the TensorRT engine in fp16"),
        ("ncnn", "fp32", "accuracy of the ncnn file"),
        ("toy", "fp32", "accuracy of the toy file"),
    ],
)
def test_the_score_names_the_file_that_was_scored(runtime: str, precision: str, name: str) -> None:
    measured = result(None, 0.5, "settings.runtime", runtime, "settings.precision", precision)
    assert name in [row.what for row in bench_rows(measured)]


def test_every_runtime_in_a_table_that_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    slow = {**MODEL, "latency_ms": {"p50": 123.46, "p90": 130.0, "p99": 140.0}}
    models = {"baseline": slow, "pruned": {**slow, "size_bytes": 104_200_000, "accuracy": None}}
    rows = [
        RuntimeRow("onnxruntime", "fp32", result(None, 0.9123)),
        RuntimeRow("executorch", "fp32", changed("models", models, "speedup", None)),
    ]
    table = RuntimesTable("runs/r", (*rows,), (SkippedRuntime("ncnn", "int8", "it was not exported"),))
    heads, cells = runtimes_table(table)
    assert [name for name, _ in heads] == ["runtime", "size", "latency ms", "speedup", "accuracy %"]
    assert cells == [
        ["onnxruntime fp32", "1 kB", "2.000 -> 1.000", "2.00x ±0.15", "91.23 -> 91.23"],
        ["executorch fp32", "104.2 MB", "123.5 -> 123.5", "-", "90.00 -> -"],
    ]
    assert runtimes_lines(table) == [
        "latency (p50) and accuracy: baseline -> pruned; ±: 95 % interval of the speedup",
        "ncnn int8 skipped: it was not exported",
        "onnxruntime fp32: noisy: close other programs",
    ]
    print_table("runs/r", heads, cells)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 3 + len(rows) and max(map(len, lines)) <= 80  # no cell is folded
