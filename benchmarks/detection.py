"""SSDlite on digits-detect: mAP and measured speed at half of the FLOPs, and at half of the latency.

    python benchmarks/detection.py

One baseline for both targets. Each run is trained, exported and measured here; runs are resumed where they stopped, and
the rows that are done are kept.
"""

import argparse
from pathlib import Path
from typing import Any

from measuring import Row, Rows, trained

from edgeprune.backends.export import export_run
from edgeprune.bench.run import bench_run
from edgeprune.train_prune.options import TrainPruneOptions

TARGETS = {
    "flops": {"target": "flops=0.5"},
    "latency": {"target": "latency=0.5", "target_device": "cpu"},
}


def main() -> None:
    """All rows that are missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="ssdlite320_mobilenet_v3_large")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--baseline-epochs", type=int, default=120)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--method", default="l1")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--targets", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--runs", type=Path, default=Path("runs/detection"))
    parser.add_argument("--out", type=Path, default=Path("results/detection.json"))
    options = parser.parse_args()
    shared: dict[str, Any] = {
        "task": "detect", "model": options.model, "data": "digits-detect", "image_size": options.image_size,
        "batch_size": 16, "epochs": options.epochs, "lr": 0.01, "method": options.method, "device": "cpu",
    }  # fmt: skip
    first = options.runs / "flops"

    def row_of(key: Row) -> Row:
        run = options.runs / key["to"]
        if run == first:
            start: dict[str, Any] = {"baseline_epochs": options.baseline_epochs, "baseline_lr": 0.03}
        else:
            start = {"weights": str(first / "baseline.safetensors")}
        summary = trained(run, TrainPruneOptions(**shared, **start, **TARGETS[key["to"]]))
        if not (run / "export" / "export.json").exists():
            export_run(run)
        measured = bench_run(run, device="cpu", seconds=options.seconds)
        models = summary["models"]
        return {
            "map": {name: models[name]["map"] for name in ("baseline", "settled", "pruned")},
            "map_of_the_file": {name: m["scores"]["map"] for name, m in measured["models"].items()},
            "flops_fraction": summary["flops_fraction"],
            "params_fraction": summary["params_fraction"],
            "p50_ms": {name: m["latency_ms"]["p50"] for name, m in measured["models"].items()},
            "speedup": measured["speedup"],
            "warnings": [warning["code"] for warning in measured["warnings"]],
        }

    about = {
        name: getattr(options, name)
        for name in ("model", "image_size", "baseline_epochs", "epochs", "method", "seconds")
    }
    for row in Rows(options.out, about).run([{"to": name} for name in options.targets], row_of):
        precision, speedup = row["map"], row["speedup"]
        print(
            f"{row['to']}: mAP {100 * precision['baseline']:.2f} to {100 * precision['pruned']:.2f} %, "
            f"{speedup['value']:.2f}x ({speedup['low']:.2f} to {speedup['high']:.2f})"
        )


if __name__ == "__main__":
    main()
