"""A run, a comparison and a search, made up by hand as far as a report looks at them."""

from pathlib import Path
from typing import Any

from edgeprune.files.writing import append_line, write_json

BOARD = {"model": None, "compatible": [], "soc": None, "l4t": None, "android": False, "gpus": []}


def measured_model(ms: float, accuracy: float, file: str) -> dict[str, Any]:
    """What `bench` keeps of a model: three rounds around a latency."""
    return {
        "file": file,
        "sha256": "0" * 64,
        "size_bytes": 1000,
        "accuracy": accuracy,
        "accuracy_reason": None,
        "latency_ms": {"p50": ms, "p90": 1.1 * ms, "p99": 1.2 * ms, "mean": ms},
        "throughput_ips": 1000 / ms,
        "memory_peak_bytes": 20_000_000,
        "memory_reason": None,
        "energy_mj_per_inference": 2 * ms,
        "energy_reason": None,
        "energy": {"rails_mj_per_inference": {"VDD_IN": 2 * ms, "VDD_GPU": ms}},
        "versions": {},
        "samples_ns": [[round(1e6 * ms * (0.9 + 0.01 * n)) for n in range(21)] for _ in range(3)],
    }


def bench_result(**changes: Any) -> dict[str, Any]:
    """A measurement on a board that was twice as fast."""
    layer = {"ms": 1.0, "low_ms": 0.9, "high_ms": 1.1}
    rows = [
        {"onnx": ["conv1", "relu"], "verdict": "faster", "baseline": layer, "pruned": {**layer, "ms": 0.25}},
        {"onnx": [], "verdict": "only in baseline", "baseline": layer, "pruned": None},
    ]
    return {
        "schema": 1,
        "complete": True,
        "models": {
            "baseline": measured_model(4.0, 0.96, "baseline.onnx"),
            "pruned": measured_model(2.0, 0.95, "pruned.onnx"),
        },
        "speedup": {"value": 2.0, "low": 1.9, "high": 2.1, "confidence": 0.95, "pairs": 3},
        "settings": {"runtime": "onnxruntime", "precision": "fp32", "batch": 1, "threads": 2, "seconds": 3.0},
        "device": {"name": "board", "title": "A board", "fingerprint": {"board": BOARD, "runtimes": {}}},
        "warnings": [{"code": "noisy", "message": "p50 varies by 9 % between rounds"}],
        "layers": {"note": "timing single layers slows the whole down", "rows": rows},
        **changes,
    }


def run_folder(place: Path, model: str = "resnet20") -> Path:
    """A finished run that was exported and measured."""
    scores = {"test_images": 100, "size_bytes": 9}
    baseline = {"accuracy": 0.96, "params": 200, "flops": 4000, **scores}
    pruned = {"accuracy": 0.95, "params": 50, "flops": 2000, **scores}
    (place / "bench").mkdir(parents=True)
    (place / "export").mkdir()
    write_json(place / "config.json", config(model))
    groups = [{"name": "conv1", "size": 8, "kept": [0, 1, 2]}, {"name": "layer1", "size": 4, "kept": [1, 3]}]
    write_json(
        place / "model.json",
        {
            "schema": 1,
            "model": {"factory": "resnet20", "args": {}},
            "input_shape": [3, 32, 32],
            "classes": ["a", "b"],
            "mean": [0.0, 0.0, 0.0],
            "std": [1.0, 1.0, 1.0],
            "plans": [{"schema": 1, "fingerprint": "0", "groups": groups, "notes": [], "bypass": False}],
            "steps": [10],
        },
    )
    for stage, step in (("baseline", 20), ("prune", 10), ("finetune", 30)):
        append_line(
            place / "metrics.jsonl", {"stage": stage, "step": step, "kind": "epoch", "val_accuracy": 0.9}
        )
        append_line(
            place / "metrics.jsonl", {"stage": stage, "step": step, "kind": "step", "loss": 0.5, "lr": 0.1}
        )
    target = {"kind": "flops", "asked": "flops=0.5", "fraction": 0.5, "got_fraction": 0.4998}
    write_json(
        place / "summary.json",
        {
            "schema": 1,
            "target": target,
            "targets": [target],
            "params_fraction": 0.25,
            "flops_fraction": 0.4998,
            "accuracy_drop": 0.01,
            "models": {"baseline": baseline, "settled": pruned, "pruned": pruned},
            "notes": ["conv9 was left alone"],
        },
    )
    write_json(place / "bench" / "board.json", bench_result())
    artifact = {
        "backend": "onnx", "precision": "fp32", "model": "baseline", "file": "baseline.onnx", "sha256": "0" * 64,
        "size_bytes": 1000, "params": 200, "parity": {"images": 9, "top1_agreement": 1.0, "max_abs_diff": 1e-6,
        "logit_scale": 1.0, "max_rel_diff": 2e-6}, "skipped_because": None,
    }  # fmt: skip
    skipped = {
        **artifact, "backend": "tensorrt", "file": None, "sha256": None, "size_bytes": None, "parity": None,
        "skipped_because": "there is no CUDA",
    }  # fmt: skip
    about = {"schema": 2, "versions": {}, "settings": {}, "input": {}, "output": {}, "classes": []}
    write_json(place / "export" / "export.json", {**about, "artifacts": [artifact, skipped]})
    return place


def config(model: str) -> dict[str, Any]:
    """The config.json of a run of classification."""
    spec = {
        "data": "digits",
        "root": None,
        "image_size": None,
        "val_fraction": 0.05,
        "seed": 0,
        "fingerprint": "0",
    }
    spec |= {"native_size": None, "whites": {}, "as_shown": True}
    return {
        "schema": 1,
        "options": {"model": model, "lr": 0.02, "target": "flops=0.5"},
        "model": {"factory": "resnet20", "args": {}},
        "data_spec": {**spec, "images": 9},
        "input_shape": [3, 32, 32],
        "classes": ["a", "b"],
        "mean": [0.0, 0.0, 0.0],
        "std": [1.0, 1.0, 1.0],
        "versions": {"torch": "2"},
        "machine": {},
        "typed": [],
    }


def pruned_file(place: Path, **changes: Any) -> Path:
    """A run of `prune` whose fit was dropped."""
    place.mkdir(parents=True)
    config = {
        "options": {"target": "flops=0.7"},
        "model": "net.onnx",
        "sha256": "0" * 64,
        "images": None,
        "out": None,
    }
    write_json(place / "prune.json", {"schema": 1, **config})
    sizes = {"params": 100, "flops": 2_000_000, "size_bytes": 8000}

    def step(name: str, top1: float | None, error: float) -> dict[str, Any]:
        return {"step": name, "top1": top1, "relative_error": error, "inputs": 40}

    summary = {
        "model": "net.onnx",
        "out": "small.onnx",
        "inputs": "40 inputs",
        "target": "flops=0.7",
        "models": {"baseline": sizes, "pruned": {**sizes, "params": 50, "flops": 1_000_000}},
        "params_fraction": 0.5,
        "flops_fraction": 0.7,
        "held_out": [step("cut", 0.925, 0.2), step("fitted (sequential)", 0.9, 0.3)],
        "fit": "none",
        "distilled": None,
        "latency": None,
        "seconds": 3.0,
        "protected_channels": {"softmax over channels": 2},
        "notes": ["one fit was left out"],
        "warnings": [],
        **changes,
    }
    write_json(place / "summary.json", {"schema": 1, **summary})
    return place


def average(*values: float) -> dict[str, Any]:
    """A number over seeds."""
    mean = sum(values) / len(values) if values else None
    std = 0.01 if len(values) > 1 else None
    return {"mean": mean, "std": std, "std_reason": None, "values": list(values), "missing": 0}


def comparison_folder(place: Path) -> Path:
    """A comparison of two methods, and one that failed."""
    place.mkdir(parents=True)

    def method(label: str, *accuracies: float) -> dict[str, Any]:
        return {
            "label": label,
            "method": label,
            "moment": None,
            "done": len(accuracies),
            "reasons": [] if accuracies else ["it diverged"],
            "accuracy_before": average(*(0.5 for _ in accuracies)),
            "accuracy": average(*accuracies),
            "params_fraction": average(),
            "flops_fraction": average(*(0.5 for _ in accuracies)),
            "seconds": average(),
            "latency_ms": average(),
            "speedup": average(*(1.5 for _ in accuracies)),
        }

    row = {"status": "done", "reason": None, "accuracy": 0.9, "flops_fraction": 0.5, "seconds": 60.0}
    row |= {"method": "l1", "moment": None, "seed": 0, "seconds_reason": None}
    write_json(
        place / "result.json",
        {
            "schema": 1,
            "complete": True,
            "source": "resnet20-digits",
            "target": "flops=0.5",
            "seeds": 2,
            "moments": [],
            "settings": {},
            "versions": {},
            "machine": {},
            "plot": None,
            "plot_reason": None,
            "baseline": {"accuracy": 0.96, "accuracy_reason": None, "seconds": None, "seconds_reason": "-"},
            "methods": [method("l1", 0.90, 0.92), method("learned", 0.95, 0.93), method("bn")],
            "rows": [{"row": "l1-seed0", **row}],
        },
    )
    return place


def search_folder(place: Path) -> Path:
    """A search of three trials, one of which failed and is not in its result."""
    place.mkdir(parents=True)

    def trial(number: int, reward: float) -> dict[str, Any]:
        about = {"stage": "layers", "ratios": [0.625, 0.5], "seconds": 1.0, "copied_from": None}
        return {"number": number, "reward": reward, "widths": [5, 2], "fractions": {"flops": 0.5}, **about}

    strategy = {
        "sampler": "gp", "wall": "scale", "criterion": "l1", "seed": 0, "trials_asked": 3, "links": [],
        **dict.fromkeys(("clusters", "rollback", "distance", "bridge")),
    }  # fmt: skip

    write_json(
        place / "result.json",
        {
            "schema": 1,
            "source": "resnet20-digits",
            "model": "resnet20",
            "data": "digits",
            "target": "flops=0.5",
            "target_fractions": {"flops": 0.5},
            "precision": "fp32",
            "images": 100,
            "plan": "plan.json",
            **strategy,
            "measured": None,
            "seconds_per_trial": 1.0,
            "versions": {},
            "machine": {},
            "groups": ["conv1", "layer1"],
            "sizes": [8, 4],
            "baseline": {"reward": 0.97, "test": 0.96},
            "uniform": {"reward": 0.6, "test": 0.61, "widths": [6, 3], "fractions": {"flops": 0.499}},
            "best": trial(2, 0.8),
            "best_test": 0.79,
            "trials": [trial(0, 0.7), trial(2, 0.8)],
            "notes": [],
            "next": "edgeprune train-prune --plan plan.json",
        },
    )
    return place
