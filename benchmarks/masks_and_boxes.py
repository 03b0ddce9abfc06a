"""A task's metric and measured speed at half of the FLOPs, and at half of the latency, on canvases of digits.

    python benchmarks/masks_and_boxes.py segment      # LR-ASPP on digits-segment: mean IoU
    python benchmarks/masks_and_boxes.py detect       # SSDlite on digits-detect: mAP

One baseline for both targets: --weights, or trained in the first run. Each run is trained, exported and measured here;
runs are resumed where they stopped, and the rows that are done are kept. A row says how its run was trained.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measuring import Row, Rows, trained

from edgeprune import tasks
from edgeprune.backends.export import export_run
from edgeprune.bench.run import bench_run
from edgeprune.train_prune.options import TrainPruneOptions


@dataclass(frozen=True)
class Case:
    """What is trained for a task, and how.

    Attributes:
        model: its name.
        data: the name of the data set.
        lr: rate of pruning and fine-tuning.
        baseline_lr: rate of the baseline.
        baseline_epochs: of the baseline.
        epochs: of pruning and fine-tuning.
        method: by which channels are chosen.
        align: widths are multiples of this; ONNX Runtime computes 8 floats at once with AVX2.
        threads: of the runtime; None for all physical cores.
    """

    model: str
    data: str
    lr: float
    baseline_lr: float
    baseline_epochs: int
    epochs: int
    method: str = "l1"
    align: int = 8
    threads: int | None = 1


CASES = {
    "segment": Case("lraspp_mobilenet_v3_large", "digits-segment", 0.05, 0.05, 30, 40),
    "detect": Case("ssdlite320_mobilenet_v3_large", "digits-detect", 0.03, 0.03, 24, 12),
}
TARGETS = {
    "flops": {"target": "flops=0.5"},
    # What the same further training does for the unpruned network.
    "control": {"target": "flops=1"},
    # A detector's export takes 20 s, so that the usual two minutes are six plans at most.
    "latency": {"target": "latency=0.5", "target_device": "cpu", "plan_seconds": 400.0},
}
TOLD = (
    "epochs",
    "lr",
    "method",
    "align",
    "distill",
    "target_threads",
)  # of each row's run


def arguments() -> argparse.Namespace:
    """Return the command line's options; those of the case where none are given."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=list(CASES))
    parser.add_argument("--model")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--baseline-epochs", type=int)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--method")
    parser.add_argument("--align", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--weights", type=Path, help="the baseline, trained before")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--targets", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--runs", type=Path, default=Path("runs/masks-and-boxes"))
    parser.add_argument("--out", type=Path, help="results/TASK.json unless it is given")
    options = parser.parse_args()
    for name in ("model", "baseline_epochs", "epochs", "lr", "method", "align", "threads"):
        if getattr(options, name) is None:
            setattr(options, name, getattr(CASES[options.task], name))
    return options


def training_options(options: argparse.Namespace, to: str) -> TrainPruneOptions:
    """Return the options of a row's run: the first target's trains the baseline, which the others begin with."""
    case, first = CASES[options.task], options.runs / options.task / "flops"
    if options.weights or to != "flops":
        start: dict[str, Any] = {"weights": str(options.weights or first / "baseline.safetensors")}
    else:
        start = {"baseline_epochs": options.baseline_epochs, "baseline_lr": case.baseline_lr}
    target = dict(TARGETS[to])
    if "target_device" in target:
        target["target_threads"] = options.threads
    return TrainPruneOptions(
        task=options.task, model=options.model, data=case.data, image_size=options.image_size, batch_size=16,
        epochs=options.epochs, lr=options.lr, method=options.method, align=options.align, device="cpu", **start,
        **target,
    )  # fmt: skip


def measured_row(options: argparse.Namespace, to: str) -> Row:
    """Train, prune, export and measure for one target; return its row."""
    run, metric = options.runs / options.task / to, tasks.get(options.task).metric.name
    summary = trained(run, training_options(options, to))
    if not (run / "export" / "export.json").exists():
        export_run(run)
    measured = bench_run(run, device="cpu", seconds=options.seconds, threads=options.threads)
    models = summary["models"]
    recorded = json.loads((run / "config.json").read_text())["options"]
    return {
        metric: {name: models[name][metric] for name in ("baseline", "settled", "pruned")},
        f"{metric}_of_the_file": {name: m["scores"][metric] for name, m in measured["models"].items()},
        "flops_fraction": summary["flops_fraction"],
        "params_fraction": summary["params_fraction"],
        "p50_ms": {name: m["latency_ms"]["p50"] for name, m in measured["models"].items()},
        "speedup": measured.to_dict()["speedup"],
        "training": {name: recorded[name] for name in TOLD},
        "warnings": [warning["code"] for warning in measured["warnings"]],
    }


def main() -> None:
    """All rows that are missing."""
    options = arguments()
    metric = tasks.get(options.task).metric
    names = ("model", "image_size", "baseline_epochs", "seconds", "threads")
    rows = Rows(
        options.out or Path(f"results/{options.task}.json"), {name: getattr(options, name) for name in names}
    )
    keys = [{"to": name} for name in options.targets]
    for row in rows.run(keys, lambda key: measured_row(options, key["to"])):
        scores, speedup = row[metric.name], row["speedup"]
        print(
            f"{row['to']}: {metric.name} {metric.text(scores['baseline'])} to {metric.text(scores['pruned'])}, "
            f"{speedup['value']:.2f}x ({speedup['low']:.2f} to {speedup['high']:.2f})"
        )


if __name__ == "__main__":
    main()
