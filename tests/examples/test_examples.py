"""Every example runs, is short, and ends with a smaller network."""

import re
from pathlib import Path

import fresh
import pytest
import torch

import edgeprune

EXAMPLES = Path(__file__).parents[2] / "examples"
MOST_LINES = 60


def run(name: str, *arguments: str, folder: Path) -> str:
    done = fresh.run([str(EXAMPLES / f"{name}.py"), *arguments], cwd=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("own_loop_*.py")), ids=lambda path: path.stem)
def test_an_own_loop_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < MOST_LINES


def test_classification_is_interrupted_and_resumed(tmp_path: Path) -> None:
    text = run("own_loop_classification", "--epochs", "3", "--out", "first.safetensors", folder=tmp_path)
    assert float(re.findall(r"FLOPs .*\((0\.\d+)\)", text)[0]) <= 0.5
    small = edgeprune.load(tmp_path / "first.safetensors")
    assert small(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert torch.load(tmp_path / "first.pt", weights_only=True)["epoch"] == 3
    resumed = run(
        "own_loop_classification",
        "--epochs",
        "4",
        "--resume",
        "first.pt",
        "--out",
        "more.safetensors",
        folder=tmp_path,
    )
    assert "epoch 4:" in resumed and "epoch 3:" not in resumed


@pytest.mark.slow
@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_detection_and_segmentation(task: str, tmp_path: Path) -> None:
    text = run(f"own_loop_{task}", "--steps", "12", "--batch", "2", folder=tmp_path)
    assert float(re.findall(r"FLOPs .*\((0\.\d+)\)", text)[0]) <= 0.5
    assert "test canvas" in text
