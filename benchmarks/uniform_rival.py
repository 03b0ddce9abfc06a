"""Is a network pruned for time at least as accurate as one of uniform widths that is as fast?

    python benchmarks/uniform_rival.py --data DIR --weights resnet56-cifar10.safetensors

The first is `train-prune --target latency=0.5` by l2; the second keeps one share of every group of coupled
channels, the most important by l2, such that it is measured as fast as the first. Both are
fine-tuned alike, from the same baseline, and measured again beside each other. Some ten minutes of measuring
and twice the training; runs are resumed where they stopped.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from measuring import machine, timed, trained

from edgeprune.files import write_json
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.importance import score
from edgeprune.latency import Site
from edgeprune.latency.whole import Whole
from edgeprune.plan import Plan
from edgeprune.recipe import TrainPruneOptions
from edgeprune.runs import Run

SHARES = tuple(k / 16 for k in range(3, 16))  # every width that a stream of 16 channels can have


def uniform(graph: Graph, share: float) -> Plan:
    """The same share of every group, the most important by l2."""
    scores, keep = score(graph, "l2"), np.zeros(graph.classes, dtype=bool)
    for group in graph.groups:
        ranked = group.classes[np.argsort(-scores[group.classes], kind="stable")]
        keep[ranked[: max(2, round(share * group.size))]] = True
    return Plan.of(graph, keep)


def as_fast(graph: Graph, whole: Whole, wanted: float) -> Plan:
    """The uniform plan whose measured share of the baseline's time is nearest to ``wanted``.

    All shares are measured: time is no rising function of them, since a device likes some widths better.
    """
    found = []
    for share in SHARES:
        plan = uniform(graph, share)
        got = whole.measure(graph, plan).share
        print(f"  uniform {share:.3f}: {got:.3f} of the time, {wanted:.3f} wanted", flush=True)
        found.append((plan, got))
    return min(found, key=lambda one: abs(one[1] - wanted))[0]


def main() -> None:
    """Ours, then the rival, then both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--model", default="resnet56")
    parser.add_argument("--target", default="latency=0.5")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--runs", type=Path, default=Path("runs/uniform-rival"))
    parser.add_argument("--out", type=Path, default=Path("results/uniform_rival.json"))
    given = parser.parse_args()
    options = TrainPruneOptions(
        model=given.model, data=given.data, weights=given.weights, epochs=given.epochs, schedule="onecycle",
        lr=0.02, nesterov=True,
    )  # fmt: skip
    best = {"method": "l2", "prune_schedule": "one-shot", "target": given.target}
    summary = {"ours": trained(given.runs / "ours", TrainPruneOptions(**{**vars(options), **best}))}
    ours = Run.open(given.runs / "ours")
    baseline, shape, site = ours.load("baseline"), tuple(ours.config["input_shape"]), Site.reach()
    plan_file = given.runs / "uniform.json"
    if not plan_file.exists():
        graph = build_graph(baseline, torch.zeros(1, *shape))
        plan = as_fast(graph, Whole(baseline, shape, site), summary["ours"]["target"]["got_fraction"])
        write_json(plan_file, plan.to_dict(graph))
    rival = TrainPruneOptions(**{**vars(options), "plan": str(plan_file)})
    summary["uniform"] = trained(given.runs / "uniform", rival)
    models = {name: Run.open(given.runs / name).load() for name in summary}
    rows = {
        name: {
            "accuracy": found["models"]["pruned"]["accuracy"],
            "accuracy_before": found["models"]["settled"]["accuracy"],
            "flops_fraction": found["flops_fraction"],
            "params_fraction": found["params_fraction"],
            **timed(baseline, models[name], shape, site, 10.0),
        }
        for name, found in summary.items()
    }
    result = {
        "schema": 1,
        "machine": machine(),
        "epochs": given.epochs,
        "baseline_accuracy": summary["ours"]["models"]["baseline"]["accuracy"],
        "rows": rows,
        "ours_over_uniform": timed(models["uniform"], models["ours"], shape, site, 10.0),
        "passed": rows["ours"]["accuracy"] >= rows["uniform"]["accuracy"],
    }
    write_json(given.out, result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
