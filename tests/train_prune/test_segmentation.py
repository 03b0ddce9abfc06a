"""Segmentation from the command line: trained, resumed, exported, measured, verified, compared and searched."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file

from edgeprune.cli import main
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.pipeline import train_prune

NETS = """
from torch import nn
from torch.nn import functional as F

class Segmenter(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.deep, self.inner = nn.Conv2d(8, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12)
        self.head, self.helper = nn.Conv2d(12, num_classes, 1), nn.Conv2d(8, num_classes, 1)

    def forward(self, x):
        low = F.relu(self.norm(self.stem(x)))
        high = F.relu(self.inner(self.deep(low)))
        up = lambda y: F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=False)
        return {"out": up(self.head(high)), "aux": up(self.helper(low))}

def segmenter(num_classes): return Segmenter(num_classes)
"""
FAST = ("--epochs", "2", "--baseline-epochs", "3", "--batch-size", "8", "--lr", "0.02", "--device", "cpu")


def edgeprune(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(word) for word in args], env={"COLUMNS": "200"})
    return result.exit_code, result.output


def write_masks(folder: Path) -> Path:
    """Bright squares are class 1, dark ones class 2, on a grey ground: 24 images to train on, 8 to test on."""
    draw = np.random.default_rng(0)
    for part, count in {"train": 24, "test": 8}.items():
        for kind in ("images", "masks"):
            (folder / part / kind).mkdir(parents=True)
        for number in range(count):
            image, mask = np.full((16, 16, 3), 128, np.uint8), np.zeros((16, 16), np.uint8)
            for value, shade in ((1, 230), (2, 20)):
                top, left = draw.integers(0, 10, 2)
                image[top : top + 6, left : left + 6], mask[top : top + 6, left : left + 6] = shade, value
            Image.fromarray(image).save(folder / part / "images" / f"{number}.png")
            Image.fromarray(mask).save(folder / part / "masks" / f"{number}.png")
    (folder / "classes.txt").write_text("ground\nbright\ndark\n")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("segmentation")
    (place / "mask_nets.py").write_text(NETS)
    write_masks(place / "squares")
    return place


@pytest.fixture(autouse=True)
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    """A finished run of a network whose auxiliary head takes part in training, exported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        words = ("--task", "segment", "--data", "squares", "--model", "mask_nets:segmenter", "--seed", "1")
        code, printed = edgeprune("train-prune", "--out", "run", *words, *FAST, "--method", "taylor")
        assert code == 0, printed
        assert "mean_iou (8 test images)" in printed and "points" in printed
        code, printed = edgeprune("export", "run")
        assert code == 0, printed
    return place / "run"


def test_the_summary_has_the_metrics_of_masks(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["task"], summary["metric"]["name"]) == ("segment", "mean_iou")
    base, pruned = summary["models"]["baseline"], summary["models"]["pruned"]
    assert 0.3 < base["mean_iou"] < base["pixel_accuracy"] <= 1  # two thirds of all pixels are ground
    assert summary["mean_iou_drop"] == pytest.approx(base["mean_iou"] - pruned["mean_iou"])
    assert summary["flops_fraction"] == pytest.approx(0.5, abs=0.1)
    assert json.loads((run / "model.json").read_text())["classes"] == ["ground", "bright", "dark"]
    assert json.loads((run / "config.json").read_text())["options"]["distill"] is True


def test_killed_while_it_learns_from_the_teacher_it_resumes_to_the_same_bytes(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPRUNE_CHECKPOINT_SECONDS", "0")

    def killed(done: float, total: float, text: str) -> None:
        if text.startswith("finetune") and done >= 1:
            raise KeyboardInterrupt

    options = json.loads((run / "config.json").read_text())["options"]
    with pytest.raises(KeyboardInterrupt):
        train_prune(tmp_path / "r", TrainPruneOptions(**options), progress=killed)
    train_prune(tmp_path / "r", resume=True)
    expected, actual = (load_file(folder / "pruned.safetensors") for folder in (run, tmp_path / "r"))
    assert all(np.array_equal(expected[name], actual[name]) for name in expected)


def test_files_agree_at_each_pixel(run: Path) -> None:
    record = json.loads((run / "export" / "export.json").read_text())
    assert record["output"]["shape"] == ["batch", 3, 16, 16]
    assert all(artifact["parity"]["top1_agreement"] == 1.0 for artifact in record["artifacts"])


@pytest.mark.slow
def test_bench_and_verify_speak_of_mean_iou(run: Path) -> None:
    code, printed = edgeprune("bench", "run", "--seconds", "0.2", "--threads", "1")
    assert code == 0, printed
    assert "mean_iou of the ONNX file" in printed and "no accuracy" not in printed
    result = json.loads((run / "bench" / "cpu.json").read_text())
    models = json.loads((run / "summary.json").read_text())["models"]
    for name in ("baseline", "pruned"):
        scores = result["models"][name]["scores"]
        assert scores["mean_iou"] == pytest.approx(models[name]["mean_iou"], abs=1e-3)
        assert scores["pixel_accuracy"] == pytest.approx(models[name]["pixel_accuracy"], abs=1e-3)
    files = [str(run / "export" / f"{name}.onnx") for name in ("baseline", "pruned")]
    code, printed = edgeprune("bench", *files, "--data", "squares", "--seconds", "0.2", "--threads", "1")
    assert code == 0 and "mean_iou of the ONNX file" in printed, printed
    Path("budget.toml").write_text("mean_iou = 0.1\nmean_iou_drop_points = 90\nonnx_mean_iou = 0.99\n")
    code, printed = edgeprune("verify", "run", "--budget", "budget.toml")
    assert code == 1 and "onnx_mean_iou" in printed and "missed" in printed


@pytest.mark.slow
def test_compare_and_search_rank_by_mean_iou(run: Path, tmp_path: Path) -> None:
    code, printed = edgeprune(
        "compare", "run", "--methods", "l1", "--seeds", "1", "--no-latency", "--out", tmp_path / "c",
        "--epochs", "1",
    )  # fmt: skip
    assert code == 0, printed
    assert "test mean iou before and after fine-tuning" in printed
    result = json.loads((tmp_path / "c" / "result.json").read_text())
    baseline = json.loads((run / "summary.json").read_text())["models"]["baseline"]
    assert result["metric"]["name"] == "mean_iou" and result["baseline"]["mean_iou"] == baseline["mean_iou"]
    code, printed = edgeprune("search", "run", "--trials", "3", "--clusters", "0", "--out", tmp_path / "s")
    assert code == 0, printed
    assert "mean iou after reconstruction" in printed and "held out %" in printed
    result = json.loads((tmp_path / "s" / "result.json").read_text())
    assert result["baseline"]["test"] == pytest.approx(baseline["mean_iou"])


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("hrank", "nisp", "lasso", "ssl", "sss")]


@pytest.mark.parametrize("method", ["learned", *SLOW])
def test_every_kind_of_method_prunes_it(tmp_path: Path, method: str) -> None:
    words = ("--task", "segment", "--data", "squares", "--model", "mask_nets:segmenter", "--method", method)
    code, printed = edgeprune("train-prune", "--out", tmp_path / "r", *words, *FAST)
    assert code == 0, printed


def test_inspect_knows_networks_for_masks() -> None:
    code, printed = edgeprune("inspect", "unet_small", "--input", "3x32x32")
    assert code == 0, printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--data", "squares", "--model", "resnet8"),
            "squares has masks, and the task classification needs labels: say --task segment, or",
        ),
        (
            ("--task", "segment", "--model", "unet_small"),
            "digits has labels, and the task segment needs masks: say --task classification, or",
        ),
        (
            ("--task", "segment", "--data", "squares", "--model", "resnet8"),
            "choose lraspp_mobilenet_v3_large",
        ),
        (("--task", "segmentation", "--data", "squares"), "did you mean 'segment'"),
        (("--task", "segment", "--data", "nowhere/at/all"), "no such data folder"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    code, printed = edgeprune("train-prune", "--out", tmp_path / "r", *words, *FAST)
    assert code == 1 and message in printed, printed
    lines = [line for line in printed.splitlines() if line.strip() and "100%" not in line]
    assert len(lines) == 1, printed  # beside the progress of reading
    assert not (tmp_path / "r").exists()


def test_a_mask_that_breaks_during_a_run_is_one_line(run: Path, place: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "r")
    (tmp_path / "r" / "summary.json").unlink()
    mask = place / "squares" / "test" / "masks" / "3.png"
    content = mask.read_bytes()
    try:
        mask.write_bytes(b"")
        code, printed = edgeprune("train-prune", "--out", tmp_path / "r", "--resume", "--trust", "mask_nets")
    finally:
        mask.write_bytes(content)
    assert code == 1 and "broken mask" in printed and "3.png" in printed, printed
