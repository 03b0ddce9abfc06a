"""Prune YOLO networks to half of their FLOPs and train them on in Ultralytics' own trainer.

    python benchmarks/ultralytics_training.py --out results/ultralytics.json [NAME ...]

Each is trained for one epoch on a few made-up images, its file read back by Ultralytics, and the FLOPs counted again:
what comes back must be the pruned network, in its own class. Needs `pip install ultralytics`.
"""

import argparse
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import Row, Rows
from networks import YOLO
from PIL import Image
from torch import nn

import edgeprune

SIDE, IMAGES = 64, 8
TRAINERS = {"detect": "DetectionTrainer", "segment": "SegmentationTrainer", "pose": "PoseTrainer"}


def made_up_data(folder: Path, task: str) -> Path:
    """Write images with one rectangle each, its labels, and Ultralytics' description of them."""
    draw = np.random.default_rng(0)
    for part in ("train", "val"):
        for kind in ("images", "labels"):
            (folder / kind / part).mkdir(parents=True)
        for number in range(IMAGES):
            pixels = draw.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
            x, y, w, h = 0.5, 0.5, 0.4, 0.3
            pixels[int(32 - h * 32) : int(32 + h * 32), int(32 - w * 32) : int(32 + w * 32)] = 200
            Image.fromarray(pixels).save(folder / "images" / part / f"{number}.png")
            box = [x, y, w, h]
            corners = [x - w / 2, y - h / 2, x + w / 2, y - h / 2, x + w / 2, y + h / 2, x - w / 2, y + h / 2]
            points = [0.5, 0.5, 2] * 17
            values = {"detect": box, "segment": corners, "pose": box + points}[task]
            text = " ".join(str(value) for value in (0, *values))
            (folder / "labels" / part / f"{number}.txt").write_text(text + "\n")
    lines = [f"path: {folder}", "train: images/train", "val: images/val", "names: {0: box}"]
    if task == "pose":
        lines += ["kpt_shape: [17, 3]"]
    place = folder / "data.yaml"
    place.write_text("\n".join(lines) + "\n")
    return place


def trainer_of(pruned: nn.Module, task: str) -> type[Any]:
    """Return Ultralytics' trainer for a network that is there already: else it would make the unpruned one anew."""
    import ultralytics.models.yolo as yolo

    base: Any = getattr(getattr(yolo, task), TRAINERS[task])

    class Trainer(base):  # type: ignore[misc]
        """Trains the pruned network."""

        def get_model(self, *_: Any, **__: Any) -> nn.Module:
            """Give the pruned network whatever is asked for."""
            return pruned

    return Trainer


def flops_of(model: nn.Module) -> int:
    """Count multiply-adds for an image of the training's size."""
    import copy

    plain = copy.deepcopy(model).float().eval()
    return edgeprune.trace(plain, torch.zeros(1, 3, SIDE, SIDE)).flops()


def row_of(key: Row) -> Row:
    """Prune, train one epoch, read the file back."""
    from ultralytics import YOLO as Yolo

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        network = Yolo(f"{key['name']}.yaml")
        data = made_up_data(folder / "data", network.task)
        original = network.model.float()
        before = flops_of(original)
        result = edgeprune.prune(original, torch.zeros(1, 3, SIDE, SIDE), target="flops=0.5")
        pruned = result.model
        trained = Yolo(f"{key['name']}.yaml")
        trained.train(
            data=str(data), epochs=1, imgsz=SIDE, batch=4, project=scratch, name="run", workers=0, device="cpu",
            plots=False, verbose=False, amp=False, trainer=trainer_of(pruned, network.task),
        )  # fmt: skip
        again = Yolo(str(folder / "run" / "weights" / "last.pt")).model
        moved = any(
            not torch.equal(a.detach().float(), b.detach().float())
            for a, b in zip(result.model.parameters(), again.parameters(), strict=True)
        )
        return {
            "ultralytics": version("ultralytics"),
            "class_kept": type(again) is type(original),
            "flops_left": flops_of(pruned) / before,
            "flops_left_after_training": flops_of(again) / before,
            "params_left": sum(p.numel() for p in again.parameters())
            / sum(p.numel() for p in original.parameters()),
            "weights_moved": moved,
            "rewritten": len(result.report.rewritten),
        }


def main() -> None:
    """Make all rows that are missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=[*YOLO])
    parser.add_argument("--out", type=Path, default=Path("results/ultralytics.json"))
    options = parser.parse_args()
    torch.set_num_threads(2)
    Rows(options.out, {"target": "flops=0.5", "side": SIDE}).run(
        [{"name": name} for name in options.names], row_of
    )


if __name__ == "__main__":
    main()
