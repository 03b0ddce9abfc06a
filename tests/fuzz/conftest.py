"""One file of each kind, as edgeprune writes it, made without training."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench.conftest import a_round

import edgeprune
from edgeprune.backends import MODELS, Artifact, ExportRecord, Parity
from edgeprune.files.writing import append_line, write_json
from edgeprune.graph.classes import build_graph
from edgeprune.graph.plan import Plan
from edgeprune.latency.shapes import Shape
from edgeprune.latency.table import Entry, Table
from edgeprune.rewrite.compaction import compact
from edgeprune.runs.run import Run
from edgeprune.train_prune.options import TrainPruneOptions

SIDE = 8
DIGEST = "0" * 64
EARLIER = Path(__file__).parents[1] / "records/exports/engines.json"  # of schema 1
BOARD = {"model": None, "compatible": [], "soc": None, "l4t": None, "android": False, "gpus": []}
PROFILE = """title = "A board"
batch = 1
[runtimes]
onnxruntime = "fp32"
[alignment]
fp32 = 8
[board]
soc = "x1"
memory_gb = [2]
[detect]
models = ["Board"]
[power]
sensors = ["rapl"]
[[power.totals]]
kind = "rail_sum"
rails = ["A", "B"]
"""
BUDGET = 'device = "cpu"\naccuracy = 0.01\nlatency_p50_ms = 1000\nspeedup = 0.01\nflops_fraction = 0.9\n'


class NeedsClass(torch.nn.Module):
    """A network with a hook, which no graph tells: its file holds keep-plans."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 6, 3)
        self.norm = torch.nn.BatchNorm2d(6)
        self.last = torch.nn.Conv2d(6, 2, 1)
        self.norm.register_forward_hook(lambda module, args, out: out.sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm(self.first(x))).mean((2, 3))


def config() -> dict[str, Any]:
    options = {**vars(TrainPruneOptions(model="resnet8", epochs=1, batch_size=8, lr=0.1, schedule="cosine"))}
    return {
        "options": options,
        "model": {"factory": "resnet8", "args": {"num_classes": 3, "in_channels": 3}},
        "data_spec": {
            "data": "digits", "root": None, "image_size": None, "val_fraction": 0.05, "seed": 0,
            "native_size": None, "fingerprint": "f",
        },
        "input_shape": [3, SIDE, SIDE],
        "classes": ["a", "b", "c"],
        "mean": [0.5] * 3,
        "std": [0.2] * 3,
        "weights_sha256": None,
        "versions": {"edgeprune": "0.1.0"},
        "machine": {"cpu": "x", "threads": 1},
        "plan": None,
    }  # fmt: skip


def summary() -> dict[str, Any]:
    model = {"accuracy": 0.9, "test_images": 10, "params": 50, "flops": 2000, "size_bytes": 1000}
    outcome = {"kind": "flops", "asked": "flops=0.5", "fraction": 0.5, "got_fraction": 0.5}
    models = {name: dict(model) for name in ("baseline", "settled", "pruned")}
    return {
        "schema": 1, "target": outcome, "targets": [outcome], "params_fraction": 0.5, "flops_fraction": 0.5,
        "accuracy_drop": 0.01, "models": models, "notes": ["a note"],
    }  # fmt: skip


def measurement() -> dict[str, Any]:
    model = {
        "file": "export/x.onnx", "sha256": DIGEST, "size_bytes": 10, "throughput_ips": 250.0,
        "latency_ms": {"p10": 3.0, "p50": 4.0, "p90": 5.0, "p99": 8.0, "mean": 4.0},
        "memory_peak_bytes": 20, "memory_reason": None, "energy_mj_per_inference": None,
        "energy_reason": "no sensor", "accuracy": 0.9, "accuracy_reason": None, "versions": {},
    }  # fmt: skip
    return {
        "schema": 1,
        "models": {"baseline": dict(model), "pruned": dict(model)},
        "speedup": {"value": 1.6, "low": 1.5, "high": 1.7, "confidence": 0.95, "pairs": 10},
        "settings": {
            "runtime": "onnxruntime", "precision": "fp32", "batch": 1, "threads": 1, "seconds": 1.0,
        },
        "device": {
            "name": "cpu", "title": "CPU",
            "fingerprint": {"board": BOARD, "runtimes": {"onnxruntime": "1"}, "cpu_model": "x"},
        },
        "warnings": [{"code": "noisy", "message": "close other programs"}],
    }  # fmt: skip


@pytest.fixture(scope="session")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with run/ and a file of each other kind."""
    place = tmp_path_factory.mktemp("kinds")
    torch.manual_seed(0)
    _run(place / "run")
    write_json(place / "bench.json", measurement())
    parity = Parity(images=8, top1_agreement=1.0, max_abs_diff=1e-6, logit_scale=1.0, max_rel_diff=1e-6)
    artifacts = [
        Artifact("onnx", "fp32", name, f"{name}.onnx", DIGEST, 10, params=9, parity=parity) for name in MODELS
    ]
    skipped = Artifact("tensorrt", "fp16", "pruned", None, None, None, params=9, skipped_because="no GPU")
    write_json(place / "export.json", ExportRecord(artifacts=(*artifacts, skipped)).to_dict())
    (place / "earlier").mkdir()
    shutil.copy(EARLIER, place / "earlier/export.json")
    append_line(place / "rounds.jsonl", {"schema": 1, "about": {"--device": "cpu"}})
    for _ in range(2):
        append_line(place / "rounds.jsonl", {"pair": {"baseline": a_round([2, 3]), "pruned": a_round([1])}})
    _tables(place)
    (place / "profile.toml").write_text(PROFILE)
    (place / "budget.toml").write_text(BUDGET)
    return place


def _run(folder: Path) -> None:
    run = Run.create(folder, config())
    model = run.build()
    run.save_tensors("baseline", model.state_dict())
    graph = build_graph(model, torch.zeros(1, 3, SIDE, SIDE))
    keep = np.ones(graph.classes, dtype=bool)
    keep[[group.classes[0] for group in graph.groups]] = False
    plan = Plan.of(graph, keep)
    done = compact(graph, plan)
    momentum = {name: torch.ones_like(p) for name, p in done.model.named_parameters()}
    run.removals.save(done.model.state_dict(), momentum, done.plan.record(graph), 7)
    run.save_tensors("pruned", done.model.state_dict())
    write_json(folder / "plan.json", plan.to_dict(graph))
    write_json(folder / "summary.json", summary())
    attempt = {"baseline_ms": 2.0, "pruned_ms": 1.0, "chosen": True}
    write_json(folder / "latency.json", {"schema": 1, "conditions": {}, "attempts": [attempt]})
    for step in (1, 2, 3):
        run.training.log({"stage": "prune", "step": step, "kind": "step", "loss": 0.5})
        run.training.steer({"interacting": 200.0, "relative": True})
    state = {"step": 3, "val_accuracy": 0.5, "ema": 0, "scaler": {}, "extra": {"iteration": 3}}
    run.training.save_checkpoint({"model/w": torch.ones(4)}, {"stage": "prune", **state})
    edgeprune.save(edgeprune.compact(model, graph, plan), folder / "saved.safetensors")
    hooked = NeedsClass()
    dense = edgeprune.prune(hooked, torch.zeros(1, 3, SIDE, SIDE), target="flops=0.7").model
    edgeprune.save(dense, folder / "plans.safetensors")


def _tables(place: Path) -> None:
    shape = Shape("conv", (8, 8), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), ("Relu",))
    conditions = {
        "device": "cpu", "processor": "p", "runtime": "r", "runtime_version": "1", "precision": "fp32",
        "batch": 1, "threads": 2,
    }  # fmt: skip
    entry = Entry(shape, {(a, b): a * b / 256 for a in (8, 16) for b in (8, 16)})
    Table(conditions, {shape.key: entry}, {"Concat on 8x8": 0.1}, "2026-01-01", 0.1).save(
        place / "table.json"
    )
