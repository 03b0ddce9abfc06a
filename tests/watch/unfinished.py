"""A run that is being trained, made up by hand."""

import time
from pathlib import Path

from report import folders

from edgeprune.files.writing import append_line, write_json

STEPS = {"flops_fraction": 0.8, "params_fraction": 0.7, "interacting": -20.0, "manual": False}


def unfinished_run(place: Path) -> Path:
    """A run in its pruning phase: its baseline is trained, fifty steps of pruning are taken."""
    place.mkdir(parents=True)
    config = folders.config("resnet20")
    write_json(
        place / "config.json",
        {**config, "options": {**config["options"], "method": "learned", "data": "digits"}},
    )
    append_line(
        place / "metrics.jsonl", {"stage": "baseline", "step": 20, "kind": "epoch", "val_accuracy": 0.9}
    )
    for step in (10, 30, 50):  # the least that is drawn as a curve
        log_steps(place, step)
    progress = {
        "stage": "prune",
        "text": "prune epoch 3/8, loss 0.4",
        "done": 50,
        "total": 150,
        "left_s": 10.0,
    }
    write_json(place / "progress.json", {"schema": 1, **progress, "later_s": 120.0, "written": time.time()})
    return place


def log_steps(place: Path, step: int, **values: object) -> None:
    """Report a step of pruning."""
    append_line(
        place / "metrics.jsonl",
        {"stage": "prune", "step": step, "kind": "step", "loss": 0.4, **STEPS, **values},
    )


def finish(place: Path, other: Path) -> None:
    """Give the run the files that a finished one has."""
    done = folders.run_folder(other)
    for name in ("model.json", "summary.json"):
        (place / name).write_text((done / name).read_text())
