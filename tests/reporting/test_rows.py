"""Rows of a comparison, against values worked out by hand."""

import pytest

from edgeprune.reporting.rows import (
    ComparisonRow,
    bench_rows,
    percent,
    quantity,
    size_rows,
    speedup_lines,
    times,
    warning_lines,
)


@pytest.mark.parametrize(
    ("baseline", "pruned", "less", "said"),
    [
        (4.0, 2.0, True, "2.00x less"),
        (2.0, 4.0, True, "2.00x more"),
        (100.0, 150.0, False, "1.50x more"),
        (150.0, 100.0, False, "1.50x less"),
        (1.0, 1.0, True, "1.00x less"),
        (None, 1.0, True, ""),
        (1.0, None, False, ""),
        (0.0, 1.0, True, ""),
    ],
)
def test_times(baseline: float | None, pruned: float | None, less: bool, said: str) -> None:
    assert times(baseline, pruned, less) == said


def test_unknown_values_are_a_dash_and_never_zero() -> None:
    assert percent(None) == quantity(None, "mJ") == "-"
    assert percent(0.93451) == "93.45 %"
    assert quantity(1_234_567, "kB", 1e3) == "1,234.57 kB"


SUMMARY = {
    "models": {
        "baseline": {"accuracy": 0.9, "test_images": 1000, "params": 200, "flops": 4_000_000},
        "pruned": {"accuracy": 0.885, "test_images": 1000, "params": 50, "flops": 2_000_000},
    }
}


def test_size_rows() -> None:
    assert size_rows(SUMMARY) == [
        ComparisonRow("accuracy (1,000 test images)", "90.00 %", "88.50 %", "-1.50 points"),
        ComparisonRow("parameters", "200", "50", "4.00x less"),
        ComparisonRow("FLOPs (multiply-adds, fvcore)", "4.00 M", "2.00 M", "2.00x less"),
    ]


def measured(p50: float, energy: float | None, accuracy: float | None) -> dict:
    return {
        "size_bytes": 1000,
        "accuracy": accuracy,
        "latency_ms": {"p50": p50, "p90": p50, "p99": 2 * p50, "mean": p50},
        "throughput_ips": 1000 / p50,
        "memory_peak_bytes": None,
        "energy_mj_per_inference": energy,
    }


def result(energy: float | None = None, accuracy: float | None = None) -> dict:
    return {
        "settings": {"batch": 1},
        "models": {"baseline": measured(2.0, energy, accuracy), "pruned": measured(1.0, energy, accuracy)},
        "speedup": {"value": 2.0, "low": 1.9, "high": 2.1, "confidence": 0.95, "pairs": 8},
        "warnings": [{"code": "noisy", "message": "close other programs"}],
    }


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
    assert speedup_lines(result()) == ["speedup 2.00x (95 % interval 1.90 to 2.10, 8 pairs of rounds)"]
    assert speedup_lines({**result(), "speedup": None}) == []
    assert warning_lines(result()) == ["noisy: close other programs"]
