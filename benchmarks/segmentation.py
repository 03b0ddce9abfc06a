"""LR-ASPP on digits-segment: mean IoU and measured speed at half of the FLOPs, and at half of the latency.

    python benchmarks/segmentation.py

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
    parser.add_argument("--model", default="lraspp_mobilenet_v3_large")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--baseline-epochs", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--method", default="l1")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--targets", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--runs", type=Path, default=Path("runs/segmentation"))
    parser.add_argument("--out", type=Path, default=Path("results/segmentation.json"))
    options = parser.parse_args()
    shared: dict[str, Any] = {
        "task": "segment", "model": options.model, "data": "digits-segment", "image_size": options.image_size,
        "batch_size": 16, "epochs": options.epochs, "lr": 0.02, "method": options.method, "device": "cpu",
    }  # fmt: skip
    first = options.runs / "flops"

    def row_of(key: Row) -> Row:
        run = options.runs / key["to"]
        if run == first:
            start: dict[str, Any] = {"baseline_epochs": options.baseline_epochs, "baseline_lr": 0.05}
        else:
            start = {"weights": str(first / "baseline.safetensors")}
        summary = trained(run, TrainPruneOptions(**shared, **start, **TARGETS[key["to"]]))
        if not (run / "export" / "export.json").exists():
            export_run(run)
        measured = bench_run(run, device="cpu", seconds=options.seconds)
        models = summary["models"]
        return {
            "mean_iou": {name: models[name]["mean_iou"] for name in ("baseline", "settled", "pruned")},
            "mean_iou_of_the_file": {name: m["scores"]["mean_iou"] for name, m in measured["models"].items()},
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
        iou, speedup = row["mean_iou"], row["speedup"]
        print(
            f"{row['to']}: mean IoU {100 * iou['baseline']:.2f} to {100 * iou['pruned']:.2f} %, "
            f"{speedup['value']:.2f}x ({speedup['low']:.2f} to {speedup['high']:.2f})"
        )


if __name__ == "__main__":
    main()
