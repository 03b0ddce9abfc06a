"""The smallest network within half a point: the curve that `train-prune --max-drop 0.5` finds, each point measured.

    python benchmarks/max_drop.py digits                  # the demo's ResNet-20 on handwritten digits
    python benchmarks/max_drop.py cifar10 --weights FILE --data DIR --model resnet56 --epochs 10

The first network is pruned for half of the time on this machine. Each is exported and measured in turn with the
unpruned one. A stopped script goes on where it was.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from measuring import machine

from edgeprune.backends.export import export_run
from edgeprune.bench.run import bench_run
from edgeprune.errors import TargetError
from edgeprune.files.writing import write_json
from edgeprune.runs.points import read_max_drop, runs_of_points
from edgeprune.runs.run import Run
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.pipeline import train_prune


def searched(place: Path, options: TrainPruneOptions) -> str | None:
    """Find the networks; return why none keeps to the limit, or None."""
    begun = (place / "config.json").exists()
    try:
        train_prune(place, None if begun else options, resume=begun)
    except TargetError as error:
        if not (place / "max_drop.json").exists():
            raise
        return str(error)
    return None


def measured(run: Run, seconds: float, threads: int | None) -> dict[str, Any]:
    """Export a point's run and measure both of its files."""
    place = run.path / "bench" / "cpu.json"
    if not (run.path / "export" / "export.json").exists():
        export_run(run.path)
    if not place.exists():
        bench_run(run.path, device="cpu", seconds=seconds, threads=threads)
    result = json.loads(place.read_text())
    p50 = {name: model["latency_ms"]["p50"] for name, model in result["models"].items()}
    return {"p50_ms": p50, "speedup": result["speedup"], "threads": result["settings"]["threads"]}


def main() -> None:
    """Search, measure every point, and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="of the result: results/max_drop_NAME.json")
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--weights")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--method", default=TrainPruneOptions.method)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, help="of ONNX Runtime  [default: all cores]")
    parser.add_argument("--target", default="latency=0.5", help="the first that is tried")
    parser.add_argument("--max-drop", type=float, default=0.5)
    parser.add_argument("--points", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--runs", type=Path, default=Path("runs/max-drop"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    place = options.runs / options.name
    chosen = TrainPruneOptions(
        model=options.model, data=options.data, weights=options.weights, epochs=options.epochs, lr=options.lr,
        target_threads=options.threads, method=options.method, precision=options.precision, compile=options.compile,
        target=options.target, target_device="cpu", max_drop=options.max_drop, points=options.points,
    )  # fmt: skip
    reason = searched(place, chosen)
    run = Run.open(place)
    record = read_max_drop(run.path)
    assert record is not None
    points = [
        {
            **point.to_dict(),
            "test": of_point.summary().to_dict()["accuracy_drop"],
            **measured(of_point, options.seconds, options.threads),
        }
        for point, of_point in zip(record.points, runs_of_points(run), strict=True)
    ]
    stored = run.config["options"]
    write_json(
        options.out or Path(f"results/max_drop_{options.name}.json"),
        {
            "schema": 1, "reason": reason, **record.to_dict(), "points": points,
            "training": {name: stored[name] for name in ("model", "data", "method", "epochs", "lr", "val_fraction")},
            "machine": machine(),
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
