"""How long does a latency table take, and how well does it foretell whole networks?

    python benchmarks/lut_accuracy.py --model torchvision:resnet50 --out results/lut_resnet50.json

Builds the table from nothing, then measures random plans (each group of coupled channels at its own width,
on and off the device's steps alike) beside the unpruned network, in turn in one run. The prediction is the
table's share of the whole, times the whole's measured time in that run. Wanted: under 10 minutes, errors of
at most 5 % (median) and 10 % (worst).
"""

import argparse
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from measuring import Row, Rows, network, timed

from edgeprune.compaction import compact
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.latency import Site, build_table
from edgeprune.latency.device import Pricing
from edgeprune.latency.shapes import read_model
from edgeprune.latency.whole import Whole
from edgeprune.plan import Plan

LEAST, MOST = 0.25, 1.0  # of a group's width


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
    parser.add_argument("--lut", type=Path, help="keep the table there; it must not be there yet")
    parser.add_argument("--out", type=Path, default=Path("results/lut_resnet50.json"))
    given = parser.parse_args()
    if given.lut and given.lut.exists():
        parser.error(f"{given.lut} is there: its time would not be that of a table from nothing")
    model, shape = network(given.model)
    site, graph = Site.reach(batch=given.batch), build_graph(model, torch.zeros(1, *shape))
    whole = Whole(model, shape, site)
    with TemporaryDirectory() as folder:
        start = time.perf_counter()
        table = build_table(
            whole.baseline_file,
            site,
            given.lut or Path(folder) / "lut.json",
            progress=lambda done, total, text: print(f"  {done:g}/{total:g} {text}", flush=True),
        )
        build_s = time.perf_counter() - start
    print(f"table of {given.model}: {build_s:.0f} s")
    pricing = Pricing(graph, read_model(whole.baseline_file, given.batch), table)
    predicted = pricing.on(graph)

    def row_of(key: Row) -> Row:
        plan = random_plan(graph, key["seed"])
        dense = compact(graph, plan)
        found = timed(model, dense.model, shape, site, given.seconds)
        share = predicted.ms(dense.plan.keep) / predicted.ms()
        return {**found, "predicted_share": share, "error": share * found["value"] - 1}

    about: dict[str, Any] = {
        "model": given.model, "batch": given.batch, "build_s": build_s, "predicted_whole_ms": predicted.ms(),
    }  # fmt: skip
    rows = Rows(given.out, about).run([{"seed": seed} for seed in range(given.plans)], row_of)
    errors = [abs(row["error"]) for row in rows]
    wholes = [predicted.ms() / row["baseline_ms"] - 1 for row in rows]
    print(
        f"errors: median {100 * statistics.median(errors):.1f} %, worst {100 * max(errors):.1f} %; the "
        f"table's sum of the unpruned network is off by {100 * statistics.median(wholes):+.1f} %"
    )


if __name__ == "__main__":
    main()
