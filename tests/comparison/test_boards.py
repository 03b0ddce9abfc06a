"""A comparison whose target holds on several boards: each row says what it takes on each."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from latency.scaled import two_boards

from edgeprune.cli import main
from edgeprune.comparison import CompareOptions, comparison_table
from edgeprune.records.comparison import ComparisonResult


def test_each_row_is_pruned_for_the_worst_board(
    options: CompareOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, older_exporter: None
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("latency.conftest.STEP", 1)
    two_boards(monkeypatch)
    typed = {**options.training, "target": "latency=0.8"}
    for name in ("prune_iterations", "mask_images"):  # of the learned method
        typed.pop(name)
    words = [f"--{name.replace('_', '-')}={value}" for name, value in typed.items()]
    arguments = [
        "compare",
        options.source,
        "--methods",
        "l1",
        "--seeds",
        "1",
        "--no-latency",
        "--out",
        "out",
        *words,
    ]
    result = CliRunner().invoke(main, [*arguments, "--host", "a", "--host", "b"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    (row,) = json.loads(Path("out/result.json").read_text())["rows"]
    planned = json.loads(Path("out/rows/l1-seed0/latency.json").read_text())["boards"]
    assert [board["host"] for board in row["boards"]] == ["a", "b"]
    for board, own in zip(row["boards"], planned, strict=True):
        assert board["pruned_ms"] == own["measured"]["pruned_ms"] and board["conditions"] == own["conditions"]
    assert max(board["pruned_ms"] / board["baseline_ms"] for board in row["boards"]) <= 0.8 * 1.0075
    heads, cells = comparison_table(ComparisonResult.read(Path("out/result.json")))
    assert [name for name, _ in heads[-2:]] == ["on a", "on b"]
    assert cells[-1][-2:] == [f"{board['pruned_ms']:.3f} ms" for board in row["boards"]]
    assert cells[0][-2:] == ["", ""]
    assert "on a" in result.stdout
    assert result.stderr.startswith(
        "--no-latency leaves out the measurement of finished rows alone: with the target "
    )
    alone = CliRunner().invoke(main, ["compare", "--out", "out", "--resume", "--host", "a"])
    assert (
        alone.exit_code == 1
        and "this comparison was begun for a and b, not a: type every --host" in alone.stderr
    )


def test_a_study_without_a_storage_is_refused(options: CompareOptions, tmp_path: Path) -> None:
    words = ["compare", options.source, "--methods", "l1", "--study", "mine", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1 and "`study`" not in result.stderr
    assert result.stderr.splitlines()[-1].endswith(
        "--study names the work in a shared --storage: say that, too, or leave --study out"
    )
    assert not (tmp_path / "out").exists()
