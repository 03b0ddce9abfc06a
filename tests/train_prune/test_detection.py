"""Detection from the command line: trained, resumed, exported, measured, verified, compared and searched."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file

from edgeprune.cli import main
from edgeprune.train_prune import checking
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.pipeline import train_prune

# One box at each place of a 4x4 grid.
NETS = """
import torch
from torch import nn
from torch.nn import functional as F

class Detector(nn.Module):
    def __init__(self, num_classes, image_shape):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.deep, self.inner = nn.Conv2d(8, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16)
        self.scores, self.boxes = nn.Conv2d(16, num_classes, 1), nn.Conv2d(16, 4, 1)
        self.cell = image_shape[0] // 4
        places = (torch.arange(4) + 0.5) * self.cell
        self.register_buffer("centres", torch.cartesian_prod(places, places).flip(1), persistent=False)

    def forward(self, images, targets=None):
        x = F.relu(self.norm(self.stem(images)))
        x = F.relu(self.inner(self.deep(x)))
        logits, codes = (head(x).flatten(2).transpose(1, 2) for head in (self.scores, self.boxes))
        if targets is not None:
            return self.losses(logits, codes, targets)
        middle = self.centres + codes[..., :2] * self.cell
        half = codes[..., 2:].clamp(max=3).exp() * self.cell / 2
        return {"boxes": torch.cat([middle - half, middle + half], -1), "scores": logits.sigmoid()}

    def losses(self, logits, codes, targets):
        wanted, place_loss = torch.zeros_like(logits), logits.sum() * 0
        for at, target in enumerate(targets):
            boxes, labels = target["boxes"], target["labels"]
            middle, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
            columns, rows = (middle / self.cell).long().clamp(0, 3).unbind(1)
            place = rows * 4 + columns
            wanted[at, place, labels] = 1
            offset = (middle - self.centres[place]) / self.cell
            code = torch.cat([offset, (size / self.cell).log()], 1)
            place_loss = place_loss + F.smooth_l1_loss(codes[at, place], code, reduction="sum")
        entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum")
        return {"classes": entropy / len(targets), "places": place_loss / len(targets)}

def detector(num_classes, image_shape, mean, std): return Detector(num_classes, image_shape)
"""
FAST = (
    "--epochs",
    "2",
    "--baseline-epochs",
    "8",
    "--batch-size",
    "8",
    "--baseline-lr",
    "0.02",
    "--device",
    "cpu",
)
TASK = ("--task", "detect", "--model", "box_nets:detector", "--seed", "1")
OURS = (*TASK, "--data", "squares")


def edgeprune(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(word) for word in args], env={"COLUMNS": "200"})
    return result.exit_code, result.output


def write_squares(folder: Path) -> Path:
    """A bright square is class 0, a dark one class 1, on grey: 40 images to train on, 8 to test on; COCO's layout."""
    draw = np.random.default_rng(0)
    for part, count in {"train": 40, "val": 8}.items():
        (folder / part).mkdir(parents=True)
        record: dict = {
            "images": [],
            "annotations": [],
            "categories": [{"id": 1, "name": "bright"}, {"id": 2, "name": "dark"}],
        }
        for number in range(count):
            image = np.full((16, 16, 3), 128, np.uint8)
            record["images"].append({"id": number, "file_name": f"{number}.png"})
            for label, shade, left in ((1, 240, 0), (2, 10, 8)):
                top, left = int(draw.integers(0, 10)), left + int(draw.integers(0, 3))
                image[top : top + 6, left : left + 6] = shade
                box = {"image_id": number, "category_id": label, "bbox": [left, top, 6, 6]}
                record["annotations"].append({"id": len(record["annotations"]), **box})
            Image.fromarray(image).save(folder / part / f"{number}.png")
        (folder / f"instances_{part}.json").write_text(json.dumps(record))
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("detection")
    (place / "box_nets.py").write_text(NETS)
    write_squares(place / "squares")
    return place


@pytest.fixture(autouse=True)
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    """A finished run, exported."""
    pytest.importorskip("torchmetrics", reason="mAP is torchmetrics'")
    pytest.importorskip("faster_coco_eval")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        code, printed = edgeprune("train-prune", "--out", "run", *OURS, *FAST, "--method", "taylor")
        assert code == 0, printed
        assert "map (8 test images)" in printed and "points" in printed
        code, printed = edgeprune("export", "run", "--to", "onnx,onnx-nms")
        assert code == 0, printed
    return place / "run"


def test_the_summary_has_map(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["task"], summary["metric"]["name"]) == ("detect", "map")
    base, pruned = summary["models"]["baseline"], summary["models"]["pruned"]
    assert 0.05 < base["map"] < base["map_50"] <= 1
    assert summary["map_drop"] == pytest.approx(base["map"] - pruned["map"])
    assert summary["flops_fraction"] == pytest.approx(0.5, abs=0.1)
    assert json.loads((run / "model.json").read_text())["classes"] == ["bright", "dark"]
    assert json.loads((run / "config.json").read_text())["options"]["distill"] is True


def test_killed_it_resumes_to_the_same_bytes(
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


def test_export_bench_and_verify_speak_of_map(run: Path) -> None:
    import onnx

    record = json.loads((run / "export" / "export.json").read_text())
    assert record["output"] == {"name": "boxes, scores", "dtype": "float32", "shape": ["batch", 16, 6]}
    assert all(artifact["parity"]["top1_agreement"] == 1.0 for artifact in record["artifacts"])
    assert [artifact["file"] for artifact in record["artifacts"] if artifact["model"] == "pruned"] == [
        "pruned.onnx", "pruned.nms.onnx",
    ]  # fmt: skip
    outputs = onnx.load(run / "export" / "pruned.onnx").graph.output
    assert [output.name for output in outputs] == ["boxes", "scores"]
    code, printed = edgeprune("bench", "run", "--seconds", "0.2", "--threads", "1")
    assert code == 0, printed
    assert "map of the ONNX file" in printed and "no accuracy" not in printed
    result = json.loads((run / "bench" / "cpu.json").read_text())
    models = json.loads((run / "summary.json").read_text())["models"]
    for name in ("baseline", "pruned"):
        scores = result["models"][name]["scores"]
        assert scores["map"] == pytest.approx(models[name]["map"], abs=1e-3)
        assert scores["map_50"] == pytest.approx(models[name]["map_50"], abs=1e-3)
    Path("budget.toml").write_text("map = 0.01\nmap_drop_points = 99\nonnx_map = 0.999\n")
    code, printed = edgeprune("verify", "run", "--budget", "budget.toml")
    assert code == 1 and "onnx_map" in printed and "missed" in printed, printed


@pytest.mark.slow
@pytest.mark.slow
def test_a_detector_of_two_stages_is_pruned_and_its_files_give_the_same_boxes(
    place: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torchmetrics", reason="mAP is torchmetrics'")
    pytest.importorskip("faster_coco_eval")
    two_stages = ("--model", "fasterrcnn_mobilenet_v3_large_320_fpn", "--image-size", "64", "--device", "cpu")
    code, printed = edgeprune(
        "train-prune", "--out", tmp_path / "r", "--task", "detect", "--data", place / "squares", *two_stages,
        "--method", "l1", "--epochs", "1", "--baseline-epochs", "1", "--batch-size", "8", "--lr", "0.001",
        "--baseline-lr", "0.003", "--precision", "fp32",
    )  # fmt: skip
    assert code == 0, printed
    code, printed = edgeprune("export", tmp_path / "r", "--to", "onnx,onnx-nms")
    assert code == 0, printed
    artifacts = json.loads((tmp_path / "r" / "export" / "export.json").read_text())["artifacts"]
    assert len(artifacts) == 4
    assert all(item["parity"]["top1_agreement"] == 1.0 for item in artifacts)
    code, printed = edgeprune("train-prune", "--out", tmp_path / "s", *TASK[:2], *two_stages, "--data",
        place / "squares", "--distill")  # fmt: skip
    assert code == 1 and "proposes places of its own" in printed and printed.count("\n") == 1


def test_int8_files_of_a_detector_are_scored_too(run: Path) -> None:
    code, printed = edgeprune("export", "run", "--precision", "int8")
    assert code == 0, printed
    code, printed = edgeprune("bench", "run", "--precision", "int8", "--seconds", "0.2", "--threads", "1")
    assert code == 0, printed
    result = json.loads((run / "bench" / "cpu.int8.json").read_text())
    models = json.loads((run / "summary.json").read_text())["models"]
    for name in ("baseline", "pruned"):
        assert result["models"][name]["scores"]["map"] == pytest.approx(models[name]["map"], abs=0.05)


def test_compare_and_search_rank_by_map(run: Path, tmp_path: Path) -> None:
    code, printed = edgeprune(
        "compare", "run", "--methods", "l1", "--seeds", "1", "--no-latency", "--out", tmp_path / "c",
        "--epochs", "1",
    )  # fmt: skip
    assert code == 0, printed
    result = json.loads((tmp_path / "c" / "result.json").read_text())
    baseline = json.loads((run / "summary.json").read_text())["models"]["baseline"]
    assert result["metric"]["name"] == "map" and result["baseline"]["map"] == baseline["map"]
    code, printed = edgeprune("search", "run", "--trials", "3", "--clusters", "0", "--out", tmp_path / "s")
    assert code == 0, printed
    result = json.loads((tmp_path / "s" / "result.json").read_text())
    assert result["baseline"]["test"] == pytest.approx(baseline["map"])


@pytest.mark.parametrize("method", ["learned", "hrank", "nisp", "lasso", "ssl", "sss"])
def test_every_kind_of_method_prunes_it(run: Path, tmp_path: Path, method: str) -> None:
    code, printed = edgeprune("train-prune", "--out", tmp_path / "r", *OURS, *FAST, "--method", method)
    assert code == 0, printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--data", "squares", "--model", "resnet8"),
            "squares has boxes, and the task classification needs labels",
        ),
        (
            ("--task", "detect", "--data", "digits"),
            "resnet20 is no detector, which --task detect needs: choose",
        ),
        ((*TASK, "--data", "digits"), "digits has labels, and the task detect needs boxes"),
        ((*OURS, "--label-smoothing", "0.1"), "--task detect has no labels to smooth"),
        ((*TASK, "--data", "nowhere/at/all"), "no such data folder"),
        ((*TASK, "--data", "."), "has no boxes: they are read in COCO's layout"),
    ],
)
def test_what_does_not_fit_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
) -> None:
    monkeypatch.setattr(checking, "find_spec", lambda name: name)
    code, printed = edgeprune("train-prune", "--out", tmp_path / "r", *words, *FAST)
    assert code == 1 and message in printed, printed
    assert len([line for line in printed.splitlines() if line.strip()]) == 1, printed
    assert not (tmp_path / "r").exists()


def test_packages_that_are_missing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "find_spec", lambda name: None)
    code, printed = edgeprune("train-prune", "--out", tmp_path / "r", *OURS)
    assert code == 1 and "needs the Python package torchmetrics" in printed
    assert "pip install 'edgeprune[detect]'" in printed
