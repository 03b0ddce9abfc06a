"""edgeprune compare: what it prints, and its own mistakes."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgeprune.cli import main
from edgeprune.comparison import CompareOptions


def run(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["compare", *args], env={"COLUMNS": "200"})
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """A finished comparison, free to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "out"))


def test_the_table(out: Path) -> None:
    code, printed, _ = run("--out", str(out), "--resume")
    assert code == 0
    lines = printed.splitlines()
    assert "compare_nets:tiny, flops=0.6" in " ".join(printed.split())
    assert any("baseline" in line for line in lines)
    assert any("learned" in line and "±" in line for line in lines)
    assert any(line.endswith("means over 2 seeds ± standard deviation") for line in lines)


def test_json_on_stdout_or_in_a_file(out: Path, tmp_path: Path) -> None:
    code, printed, _ = run("--out", str(out), "--resume", "--json", "-")
    assert code == 0
    result = json.loads(printed)
    assert result["methods"][0]["label"] == "learned"
    run("--out", str(out), "--resume", "--json", str(tmp_path / "file.json"))
    assert json.loads((tmp_path / "file.json").read_text()) == result


def test_a_new_comparison_takes_its_place_under_runs(
    finished: Path, options: CompareOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished / "rows/learned-seed0", "runs/mine")
    code, printed, error = run("runs/mine", "--methods", "learned", "--seeds", "1", "--no-latency")
    assert code == 0, error
    assert "runs/compare-mine: mine, flops=0.6" in " ".join(printed.split())
    assert "one seed, so no spread" in printed
    assert Path("runs/compare-mine/accuracy.png").is_file()
    code, again, _ = run("--resume")  # the latest
    assert code == 0 and again == printed
    code, _, error = run("--resume", "--seeds", "2")
    assert code == 1 and "begun with seeds=1, not 2" in error


def test_one_that_exists_is_one_line(out: Path) -> None:
    code, _, error = run("resnet8", "--methods", "learned", "--out", str(out))
    assert code == 1
    assert len(error.strip().splitlines()) == 1 and "exists: go on with --resume" in error


def test_a_run_without_a_baseline_is_one_line(out: Path) -> None:
    row = out / "rows/learned-seed0"
    (row / "baseline.safetensors").unlink()
    code, _, error = run(str(row), "--methods", "learned", "--out", str(out.parent / "new"))
    assert code == 1
    assert len(error.strip().splitlines()) == 1 and "has no baseline yet" in error
