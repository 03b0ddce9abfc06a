"""A task of the user's own by its name, package.module:Task: a regression whose error is to be low."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgeprune.cli import main

OWN = """
import torch
from torch import nn
from torch.nn import functional as F
from edgeprune.tasks import Metric, Task

class HowMuch(Task):
    name = "how-much"
    metrics = (Metric("mean_error", "units", higher_is_better=False),)

    def loss(self, output, target, *, label_smoothing=0.0):
        return F.smooth_l1_loss(output[:, 0].float(), target.float())

    def measures(self, output, target):
        return {"mean_error": (output[:, 0].cpu().float() - target).abs()}

class NeedsMore(HowMuch):
    def __init__(self, scale): self.scale = scale

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 1),
        )

def net(): return Net()
def number(): return 3
"""


def edgeprune(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(word) for word in args], env={"COLUMNS": "200"})
    return result.exit_code, result.output


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_regression.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("own_regression", None)


WORDS = (
    "train-prune", "--model", "own_regression:net", "--image-size", "16", "--method", "taylor", "--device", "cpu",
    "--baseline-epochs", "1", "--epochs", "1", "--batch-size", "128",
)  # fmt: skip


@pytest.mark.slow
def test_files_of_a_regression_agree(place: Path) -> None:
    code, printed = edgeprune(*WORDS, "--task", "own_regression:HowMuch", "--out", "r")
    assert code == 0, printed
    code, printed = edgeprune("export", "r", "--images", "16")
    assert code == 0, printed
    record = json.loads((place / "r" / "export" / "export.json").read_text())
    assert record["output"]["shape"] == ["batch", 1]


def test_a_regression_is_trained_and_pruned(place: Path) -> None:
    code, printed = edgeprune(*WORDS, "--task", "own_regression:HowMuch", "--out", "r")
    assert code == 0, printed
    assert "mean_error (360 test images)" in printed and " units" in printed
    summary = json.loads((place / "r" / "summary.json").read_text())
    models = summary["models"]
    assert (summary["task"], summary["metric"]["higher_is_better"]) == ("how-much", False)
    assert 0 < models["pruned"]["mean_error"] < 5  # labels are 0 to 9
    drop = models["pruned"]["mean_error"] - models["baseline"]["mean_error"]
    assert summary["mean_error_drop"] == pytest.approx(drop)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("own_regression:Missing", "has no 'Missing': is own_regression:Missing spelt right"),
        ("nowhere_at_all:Task", "no module 'nowhere_at_all'"),
        ("own_regression:number", "is a function: derive it from edgeprune.tasks.Task"),
        ("own_regression:NeedsMore", "cannot be made without arguments"),
    ],
)
def test_what_is_no_task_is_one_line(place: Path, task: str, message: str) -> None:
    code, printed = edgeprune(*WORDS, "--task", task, "--out", "r")
    assert code == 1 and message in printed and len(printed.splitlines()) == 1, printed
    assert not (place / "r").exists()


def test_a_task_that_a_run_folder_names_is_not_imported_unasked(place: Path) -> None:
    code, printed = edgeprune("train-prune", "--model", "resnet8", "--data", "digits", "--baseline-epochs", "1",
                              "--epochs", "1", "--batch-size", "512", "--image-size", "8", "--device", "cpu",
                              "--method", "l1", "--out", "r")  # fmt: skip
    assert code == 0, printed
    (place / "stranger.py").write_text("raise SystemExit('imported')\n")
    config = json.loads((place / "r" / "config.json").read_text())
    config["options"]["task"] = "stranger:Task"
    (place / "r" / "config.json").write_text(json.dumps(config))
    (place / "r" / "summary.json").unlink()
    for command in (
        ("train-prune", "--out", "r", "--resume"),
        ("export", "r"),
        ("search", "r"),
        ("bench", "r"),
    ):
        code, printed = edgeprune(*command)
        assert code == 1 and "imported" not in printed, printed
        assert "stranger" not in sys.modules
    assert "--trust stranger" in edgeprune("export", "r")[1]
