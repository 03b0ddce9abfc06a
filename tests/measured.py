"""A measurement as its file has it, for tests that change a few fields of it."""

from copy import deepcopy
from typing import Any

from edgeprune.records.bench import BenchResult

MODEL: dict[str, Any] = {
    "file": "net.onnx",
    "sha256": "a" * 64,
    "size_bytes": 1000,
    "versions": {"onnxruntime": "1.20"},
    "latency_ms": {"p10": 0.9, "p50": 1.0, "p90": 1.5, "p99": 2.0, "mean": 1.1},
    "throughput_ips": 1000.0,
    "round_spread": 0.01,
    "memory_peak_bytes": None,
    "memory_reason": "not on this system",
    "energy_mj_per_inference": 2.0,
    "energy_reason": None,
    "energy": {"sensor": "ina3221", "window_s": 10.0, "unit": "watts", "longest_gap_s": 0.1},
    "accuracy": 0.9,
    "accuracy_reason": None,
    "samples_ns": [[1] * 60, [1] * 60],
}
GOOD: dict[str, Any] = {
    "schema": 1,
    "complete": True,
    "device": {
        "name": "jetson",
        "title": "a Jetson",
        "fingerprint": {
            "board": {
                "model": None,
                "compatible": [],
                "soc": None,
                "l4t": None,
                "android": False,
                "gpus": [],
            },
            "runtimes": {"onnxruntime": "1.20"},
            "cores_online": 4,
            "cores_physical": 4,
            "busy_cores": 0.5,
            "load_average": [3.0, 1.0, 1.0],
            "governors": ["performance"],
        },
    },
    "settings": {
        "stretches": 1,
        "threads": 4,
        "runtime": "onnxruntime",
        "runtime_wished": "onnxruntime",
        "precision": "fp32",
        "batch": 1,
        "seconds": 10.0,
    },
    "machine": {"before": {"cpu": {"clocks": []}}, "after": {}, "watched": {}, "warnings": []},
    "models": {"baseline": deepcopy(MODEL), "pruned": deepcopy(MODEL)},
    "speedup": {"value": 1.5, "low": 1.4, "high": 1.6, "confidence": 0.95, "pairs": 8},
    "warnings": [],
}


SPEEDUP = {"confidence": 0.95, "pairs": 8}


def changed(*pairs: Any) -> BenchResult:
    """Return the measurement with other values: the dotted path of a key, its value, the next path ..."""
    content = deepcopy(GOOD)
    for path, value in zip(pairs[::2], pairs[1::2], strict=True):
        *folders, key = path.split(".")
        place = content
        for folder in folders:
            place = place[folder]
        place[key] = {**SPEEDUP, **value} if key.startswith("speedup") and value else deepcopy(value)
    content["complete"] = content["speedup"] is not None
    return BenchResult.from_dict(content)
