"""Do targets on a device come true? Measured by ONNX Runtime on this machine's CPU.

    python benchmarks/device_targets.py --weights resnet56-cifar10.safetensors

For each network and batch: `latency=0.5` must be at least 1.95 times as fast, and `flops=0.5` on the
device at least 0.95 times its FLOPs ratio. Pruned by l2, without training: times do not depend on the
weights. The measurement is one of its own, after the one that settled the widths. Where its interval holds
the limit it decides nothing: such a row is measured once more, three times as long, and that counts,
whichever way it goes. Needs a quiet machine; an hour or so, most of it for the tables of the larger networks
(kept under luts/). It goes on where it was stopped.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from measuring import Row, Rows, network, timed

from edgeprune import api
from edgeprune.errors import TargetError
from edgeprune.latency import BenchTarget

NETWORKS = ("resnet56", "torchvision:resnet18", "torchvision:resnet50", "torchvision:mobilenet_v2")
BATCHES = (1, 32)
TARGETS = ("latency=0.5", "flops=0.5")
LEAST_SPEEDUP = 1.95
LEAST_EFFICIENCY = 0.95
LONGER = 3  # times, where the interval holds the limit


def row_of(key: Row, weights: str | None, seconds: float) -> Row:
    """One network pruned for one target, and measured."""
    model, shape = network(key["model"], weights if key["model"] == "resnet56" else None)
    site = BenchTarget.reach(batch=key["batch"])
    start = time.perf_counter()
    try:
        done = api.prune(
            model,
            torch.zeros(1, *shape),
            criterion="l2",
            target=key["target"],
            device=site,
            progress=lambda done, total, text: print(f"  {done:g}/{total:g} {text}", flush=True),
        )
    except TargetError as error:
        return {"error": str(error), "passed": False}
    took = time.perf_counter() - start
    ratio = done.report.flops[0] / done.report.flops[1]
    needed = LEAST_SPEEDUP if key["target"].startswith("latency") else LEAST_EFFICIENCY * ratio
    times = timed(model, done.model, shape, site, seconds)
    undecided = times["low"] < needed <= times["high"]
    if undecided:
        times = timed(model, done.model, shape, site, LONGER * seconds)
    return {
        **times,
        "measured_longer": undecided,
        "flops_ratio": ratio,
        "needed": needed,
        "passed": times["value"] >= needed,
        "prune_s": took,
        "notes": list(done.report.notes),
    }


def main() -> None:
    """All rows that are missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("results/device_targets.json"))
    parser.add_argument("--weights", help="of the ResNet-56")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES))
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    about: dict[str, Any] = {"criterion": "l2", "seconds": args.seconds}
    keys = [
        {"model": model, "batch": batch, "target": target}
        for model in args.networks
        for batch in args.batches
        for target in TARGETS
    ]
    rows = Rows(args.out, about).run(keys, lambda key: row_of(key, args.weights, args.seconds))
    failed = [row for row in rows if not row["passed"]]
    print(f"{len(rows) - len(failed)} of {len(rows)} passed")


if __name__ == "__main__":
    main()
