import shutil
from pathlib import Path

import pytest

from edgeprune.comparison import CompareOptions, compare
from edgeprune.comparison.latency import is_measured, measure_row, measured


def quiet(done: float, total: float, text: str) -> None:
    """Progress that nobody watches."""


def test_a_row_that_cannot_be_exported_says_why(finished: Path, tmp_path: Path) -> None:
    row = Path(shutil.copytree(finished / "rows/learned-seed0", tmp_path / "row"))
    (row / "pruned.safetensors").write_bytes(b"cut")
    reason = measure_row(row, 0.1, quiet)
    assert reason is not None and "pruned.safetensors" in reason and "\n" not in reason
    assert not is_measured(row)


def test_a_finished_comparison_is_measured(
    finished: Path,
    options: CompareOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    older_exporter: None,
) -> None:
    monkeypatch.setattr("edgeprune.bench.options.MIN_ROUNDS", 2)
    run = finished / "rows/learned-seed0"
    requested = CompareOptions(source=str(run), methods=("learned",), seeds=1, seconds=0.1)
    result = compare(tmp_path / "out", requested)
    row = result["rows"][0]
    assert row["latency_reason"] is None
    assert row["latency"] == measured(tmp_path / "out/rows/learned-seed0")
    assert row["latency"]["baseline_ms"] > 0 and row["latency"]["pruned_ms"] > 0
    assert row["latency"]["speedup"]["low"] <= row["latency"]["speedup"]["value"]
    assert row["latency"]["batch"] == 1
    assert result["methods"][0]["latency_ms"]["values"] == (row["latency"]["pruned_ms"],)
    assert result["methods"][0]["speedup"]["values"] == (pytest.approx(row["latency"]["speedup"]["value"]),)
    file = tmp_path / "out/rows/learned-seed0/bench/cpu.json"
    before = file.read_bytes()
    compare(tmp_path / "out", resume=True)  # once is enough
    assert file.read_bytes() == before
