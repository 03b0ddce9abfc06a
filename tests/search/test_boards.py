"""A search whose target holds on several boards: the best plan is measured on each."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from latency.scaled import two_boards

from edgeprune.cli import main


def test_the_best_plan_is_measured_on_each_board(
    requested: dict[str, object],
    importable: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    older_exporter: None,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("latency.conftest.STEP", 1)
    boards = two_boards(monkeypatch)
    typed = {**requested, "target": "latency=0.9", "sampler": "random", "trials": 3, "clusters": 0}
    source = str(typed.pop("source"))
    device = typed.pop("device")
    for name in ("bridge", "rollback", "batch_size", "precision"):
        typed.pop(name)
    assert device == "cpu"
    words = [f"--{name.replace('_', '-')}={value}" for name, value in typed.items()]
    arguments = ["search", source, "--out", "out", *words, "--host", "a", "--host", "b"]
    result = CliRunner().invoke(main, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    measured = json.loads(Path("out/result.json").read_text())["measured"]
    times = {board["host"]: board for board in measured["boards"]}
    shares = {host: own["pruned_ms"] / own["baseline_ms"] for host, own in times.items()}
    worst = max(shares, key=lambda host: shares[host])
    assert list(times) == ["a", "b"] and measured["pruned_ms"] == times[worst]["pruned_ms"]
    assert times["b"]["conditions"]["processor"] == boards["b"].name
    assert shares["a"] != pytest.approx(shares["b"], rel=0.01) and max(shares.values()) <= 0.9 * 1.03
    for host, own in times.items():
        assert f"on {host}: {own['pruned_ms']:.4g} ms, baseline {own['baseline_ms']:.4g} ms" in result.stdout
    alone = CliRunner().invoke(main, ["search", "--out", "out", "--resume", "--host", "b"])
    assert (
        alone.exit_code == 1 and "this search was begun for a and b, not b: type every --host" in alone.stderr
    )
