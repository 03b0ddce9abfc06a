"""Options that do nothing beside the others are said, and nothing is begun."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgeprune.cli import main
from edgeprune.data import load_data
from edgeprune.runs.run import Run

LEARNED = ["train-prune"]
L1 = ["train-prune", "--method", "l1"]
CASES = [
    ([*L1, "--prune-steps", "5"], "--prune-steps has no effect here: the schedule is one-shot"),
    ([*LEARNED, "--prune-steps", "3"], "--prune-steps has no effect here: the learned method"),
    ([*L1, "--switch", "0.5"], "--switch has no effect here"),
    (["train-prune", "--method", "taylor", "--switch", "0.2"], "--switch has no effect here"),
    ([*LEARNED, "--shrink", "0.5"], "--shrink has no effect here"),
    ([*LEARNED, "--allocation", "masks", "--score-batches", "5"], "--score-batches has no effect here"),
    ([*L1, "--mask-images", "8"], "--mask-images has no effect here"),
    ([*L1, "--offset", "1.15"], "--offset has no effect here"),
    ([*L1, "--allocation", "masks"], "--allocation has no effect here"),
    ([*L1, "--prune-iterations", "10"], "--prune-iterations has no effect here"),
    ([*L1, "--momentum", "0", "--nesterov"], "--nesterov has no effect here"),
    ([*L1, "--init", "random", "--baseline-lr", "0.1"], "--baseline-lr has no effect here"),
    ([*LEARNED, "--download"], "--download has no effect here"),
    ([*LEARNED, "--data-root", "here"], "--data-root has no effect here"),
    (
        ["train-prune", "--plan", "p.json", "--target", "flops=0.5"],
        "--target has no effect here: --plan says",
    ),
    (["train-prune", "--plan", "p.json", "--method", "learned"], "--method has no effect here: --plan says"),
    (["train-prune", "--plan", "p.json", "--align", "8"], "--align has no effect here: --plan says"),
    (["train-prune", "--plan", "p.json", "--floor", "2"], "--floor has no effect here: --plan says"),
    (["compare", "resnet8", "--methods", "l1,l1"], "--methods names l1 twice: name each once"),
    (["compare", "resnet8", "--methods", "all,l1"], "--methods all names every method"),
    (["compare", "resnet8", "--moments", "start,start"], "--moments names start twice"),
    (
        ["compare", "resnet8", "--methods", "l1", "--prune-iterations", "9"],
        "--prune-iterations has no effect",
    ),
    (
        ["compare", "resnet8", "--moments", "end", "--prune-iterations", "9"],
        "--prune-iterations has no effect",
    ),
    (["compare", "resnet8", "--methods", "l1", "--no-latency", "--seconds", "3"], "--seconds has no effect"),
    (["compare", "resnet8", "--methods", "l1", "--download"], "--download has no effect"),
    (["search", "resnet8", "--sampler", "uniform", "--trials", "9"], "--trials has no effect here"),
    (["search", "resnet8", "--sampler", "sensitivity", "--clusters", "2"], "--clusters has no effect here"),
    (["search", "resnet8", "--clusters", "0", "--rollback", "none"], "--rollback has no effect here"),
    (["search", "resnet8", "--rollback", "direct", "--bridge", "9"], "--bridge has no effect here"),
    (["search", "resnet8", "--download"], "--download has no effect here"),
    (["search", "resnet8", "--seed", "-1"], "--seed must be at least 0, not -1"),
    (["search", "resnet8", "--storage", "nonsense"], "of an unknown kind: use one of sqlite:///FILE"),
    (["search", "resnet8", "--storage", "redis://:secret@127.0.0.1:1"], "Connection refused"),
    (["train-prune", "--device", "cpu:"], "unknown device 'cpu:'"),
    (["train-prune", "--device", "cpu:1"], "unknown device 'cpu:1'"),
    (["train-prune", "--device", "cuda:\u00b2"], "unknown device"),
    (["train-prune", "--device", "cuda:-1"], "unknown device"),
    (["train-prune", "--device", ":"], "unknown device"),
    (["train-prune", "--device", "meta"], "unknown device"),
    ([*L1, "--moment", "epoch:\u00b2"], "write start, epoch:N, plateau or end"),
    ([*L1, "--moment", "epoch:" + "9" * 5000], "write start, epoch:N, plateau or end"),
    (
        ["train-prune", "--method", "taylor", "--prune-iterations", "3", "--prune-steps", "6"],
        "--prune-steps 6 is more than the 3",
    ),
    (["inspect", "resnet8", "--input", "3x999999999x999999999"], "at most 100,000,000"),
    (["inspect", "resnet8", "--input", "3x" + "9" * 5000], "is not of the form 3x224x224"),
    (["inspect", "resnet8", "--input", "3x\u0663\u0662x32"], "is not of the form 3x224x224"),
    (["inspect", "resnet8", "--classes", "0"], "--classes must be at least 1, not 0"),
    (["inspect", "resnet8", "--classes", "1000000000"], "--classes must be at most 100,000"),
    (["lut", "build", "--model", "resnet8", "--threads", "0"], "--threads must be at least 1, not 0"),
]


@pytest.mark.parametrize(("args", "message"), CASES, ids=lambda case: " ".join(case)[:80] if case else "")
def test_one_line_and_nothing_is_begun(
    args: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, args)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 1 and result.stdout == ""
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert message in result.stderr and "secret" not in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with nothing but its configuration."""
    config = {
        "options": {}, "data_spec": load_data("digits").spec(), "input_shape": [3, 8, 8],
        "model": {"factory": "resnet8", "args": {"num_classes": 3, "in_channels": 3}},
    }  # fmt: skip
    return Run.create(tmp_path / "run[/b]", config).path


@pytest.mark.parametrize("option", [["--input", "3x8x8"], ["--classes", "3"]])
@pytest.mark.parametrize("command", [["inspect"], ["lut", "build", "--model"]])
def test_a_run_brings_its_input_and_classes(command: list[str], option: list[str], run: Path) -> None:
    result = CliRunner().invoke(main, [*command, str(run), *option])
    assert result.exit_code == 1 and f"which defines it: leave {option[0]} out" in result.stderr


def test_markup_in_the_name_of_a_run(run: Path) -> None:
    result = CliRunner().invoke(main, ["inspect", str(run)])
    assert result.exit_code == 0 and "[/b]" in result.stdout


def test_steer_is_told_one_thing(run: Path) -> None:
    for words in (["--auto", "--interacting", "5"], ["--auto", "--target", "flops=0.5"]):
        result = CliRunner().invoke(main, ["steer", str(run), *words])
        assert (
            result.exit_code == 2 and "--interacting, --target and --auto exclude each other" in result.stderr
        )
    for number in ("9" * 400, "\u0665", "nan", "inf", "1e3", "--5"):
        result = CliRunner().invoke(main, ["steer", str(run), f"--interacting={number}"])
        assert result.exit_code == 1 and "is not a number" in result.stderr
    assert Run.open(run).training.steering() == []
    assert json.loads((run / "config.json").read_text())["options"] == {}
