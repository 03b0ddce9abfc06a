"""How long does a latency table take, and how well does it foretell whole networks?

    python benchmarks/lut_accuracy.py --model torchvision:resnet50 --out results/lut_resnet50.json

Builds the table from nothing, then measures random plans (each group of coupled channels at its own width,
on and off the device's steps alike) beside the unpruned network, in turn in one run. The prediction is the
table's share of the whole, times the whole's measured time in that run. Wanted: under 10 minutes, errors of
at most 5 % (median) and 10 % (worst). A measurement during which the unpruned network is slower than it was
before is taken again, whatever it says. The script goes on where it was stopped.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import SURE, Row, Rows, network, quiet

from edgeprune.graph.classes import Graph, build_graph
from edgeprune.graph.plan import Plan
from edgeprune.latency import BenchTarget, build_table
from edgeprune.latency.end_to_end import EndToEndTimer
from edgeprune.latency.estimator import LatencyEstimator
from edgeprune.latency.shapes import read_model
from edgeprune.rewrite.compaction import compact

LEAST, MOST = 0.25, 1.0  # of a group's width
TRIES = 8  # of a measurement that neighbours disturb


def random_plan(graph: Graph, seed: int) -> Plan:
    """Every group at a random width; one plan in two on multiples of 16."""
    draw = np.random.default_rng(seed)
    keep = np.zeros(graph.classes, dtype=bool)
    for group in graph.groups:
        width = round(draw.uniform(LEAST, MOST) * group.size)
        if seed % 2 == 0 and group.size > 16:
            width = 16 * round(width / 16)
        keep[draw.permutation(group.classes)[: max(2, width)]] = True
    return Plan.of(graph, keep)


def main() -> None:
    """Build, foretell, measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="torchvision:resnet50")
    parser.add_argument("--plans", type=int, default=20)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--lut", type=Path, default=Path("runs/lut_resnet50.json"), help="the table's place")
    parser.add_argument("--out", type=Path, default=Path("results/lut_resnet50.json"))
    args = parser.parse_args()
    known = json.loads(args.out.read_text()) if args.out.exists() else None
    if args.lut.exists() != (known is not None):
        parser.error(f"{args.lut} and {args.out} belong together, and one is missing: remove the other")
    model, shape = network(args.model)
    site, graph = BenchTarget.reach(batch=args.batch), build_graph(model, torch.zeros(1, *shape))
    timer = EndToEndTimer(model, shape, site, args.seconds, SURE, TRIES)
    start = time.perf_counter()
    table = build_table(
        timer.baseline_file,
        site,
        args.lut,
        progress=lambda done, total, text: print(f"  {done:g}/{total:g} {text}", flush=True),
    )
    build_s = known["build_s"] if known else time.perf_counter() - start
    print(f"table of {args.model}: {build_s:.0f} s")
    pricing = LatencyEstimator(graph, read_model(timer.baseline_file, args.batch), table)
    predicted = pricing.on(graph)

    def row_of(key: Row) -> Row:
        plan = random_plan(graph, key["seed"])
        dense = compact(graph, plan)
        result = timer.times(dense.model)._asdict()
        share = predicted.ms(dense.plan.keep) / predicted.ms()
        return {**result, "predicted_share": share, "error": share * result["value"] - 1}

    about: dict[str, Any] = {
        "model": args.model, "batch": args.batch, "build_s": build_s, "predicted_whole_ms": predicted.ms(),
    }  # fmt: skip
    kept = Rows(args.out, about)
    quiet(kept, timer, {})
    rows = kept.run([{"seed": seed} for seed in range(args.plans)], row_of)
    errors = [abs(row["error"]) for row in rows]
    wholes = [predicted.ms() / row["baseline_ms"] - 1 for row in rows]
    print(
        f"errors: median {100 * statistics.median(errors):.1f} %, worst {100 * max(errors):.1f} %; the "
        f"table's sum of the unpruned network is off by {100 * statistics.median(wholes):+.1f} %"
    )


if __name__ == "__main__":
    main()
