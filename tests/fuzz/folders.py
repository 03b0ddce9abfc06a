"""Small folders of every kind, made once by the commands themselves, and copied for each case."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.train_prune.options import TrainPruneOptions

BUDGET = """device = "cpu"
accuracy = 0.01
accuracy_drop_points = 100
flops_fraction = 0.9
onnx_top1_agreement = 0.9
latency_p50_ms = 1000
speedup = 0.01
"""
FILES = (".json", ".jsonl", ".safetensors", ".toml", ".onnx", ".db")  # what is read, and so is damaged


class Stop(Exception):
    """Ends a training in the middle."""


def make(place: Path) -> None:
    """Make run, cut and cut-l1 (each with a checkpoint), compare, search, and single files in ``place``."""
    images(place / "images")
    options = TrainPruneOptions(
        model="resnet8", data=str(place / "images"), epochs=2, baseline_epochs=1, batch_size=16,
        precision="fp32", device="cpu", mask_images=2, prune_iterations=4, score_batches=1, val_fraction=0.2,
    )  # fmt: skip
    _runs(place, options)
    _comparison_and_search(place, options)
    _files(place)


def images(folder: Path) -> None:
    """Write 60 images of 8 x 8 in three classes."""
    from PIL import Image

    draw = np.random.default_rng(0)
    for number in range(60):
        image = folder / f"class{number % 3}" / f"{number:02d}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(0, 90, (8, 8, 3)) + 60 * (number % 3)
        Image.fromarray(pixels.astype(np.uint8)).save(image)


def _runs(place: Path, options: TrainPruneOptions) -> None:
    from edgeprune.backends import export_run
    from edgeprune.bench import bench_run
    from edgeprune.train_prune.pipeline import train_prune

    train_prune(place / "run", options)
    export_run(place / "run", images=8)
    bench_run(place / "run", seconds=0.01)
    for name in ("cut", "cut-l1"):

        def stop(done: float, total: float, text: str) -> None:
            if text.startswith(("finetune", "prune")) and done >= 2:
                raise Stop

        os.environ["EDGEPRUNE_CHECKPOINT_SECONDS"] = "0"
        try:
            method = {"method": "l1", "prune_schedule": "iterative", "prune_steps": 2} if "l1" in name else {}
            train_prune(place / name, TrainPruneOptions(**{**vars(options), **method}), progress=stop)
        except Stop:
            pass
        finally:
            del os.environ["EDGEPRUNE_CHECKPOINT_SECONDS"]


def _comparison_and_search(place: Path, options: TrainPruneOptions) -> None:
    from edgeprune.comparison import CompareOptions, compare
    from edgeprune.search import SearchOptions, search

    shared: dict[str, Any] = {
        name: getattr(options, name)
        for name in ("data", "epochs", "baseline_epochs", "batch_size", "precision", "device")
    }
    compare(
        place / "compare",
        CompareOptions(source="resnet8", methods=("l1", "fpgm"), seeds=1, training=shared, latency=False),
    )
    row = place / "compare" / "rows" / "fpgm-seed0"
    (row / "summary.json").unlink()
    training = {**shared, "val_fraction": 0.2}
    options_of_search = SearchOptions(
        source="resnet8", training=training, trials=3, sampler="random", images=8, calibration=8,
        final_calibration=8, clusters=0,
    )  # fmt: skip
    search(place / "search", options_of_search)


def _files(place: Path) -> None:
    import torch

    import edgeprune
    from edgeprune.latency.shapes import Shape
    from edgeprune.latency.table import Entry, Table
    from edgeprune.models import build

    model = build("resnet8", num_classes=3)
    pruned = edgeprune.prune(model, torch.zeros(1, 3, 8, 8))
    edgeprune.save(pruned.model, place / "model.safetensors")
    (place / "plan.json").write_text(json.dumps(pruned.plan.to_dict(pruned.graph)))
    (place / "budget.toml").write_text(BUDGET)
    shape = Shape("conv", (8, 8), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), ("Relu",))
    conditions = {
        "device": "cpu", "processor": "p", "runtime": "onnxruntime", "runtime_version": "1",
        "precision": "fp32", "batch": 1, "threads": 2,
    }  # fmt: skip
    entry = Entry(shape, {(a, b): a * b / 256 for a in (8, 16) for b in (8, 16)})
    Table(conditions, {shape.key: entry}, {"Concat on 8x8": 0.1}, "2026-01-01", 0.1).save(
        place / "table.json"
    )


def copied(base: Path, folder: Path, words: tuple[str, ...]) -> list[Path]:
    """Copy into ``folder`` what a command line names; return the files that may be damaged, sorted."""
    for word in words:
        name = word.split("/")[0]
        source = base / name
        if not name or not source.exists() or (folder / name).exists():
            continue
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("tensorboard", "*.png"))
        else:
            shutil.copy(source, folder / name)
    return sorted(path for path in folder.rglob("*") if path.suffix in FILES)
