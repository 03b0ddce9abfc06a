"""Is a network pruned for time at least as accurate as one of uniform widths that is as fast?

    python benchmarks/uniform_rival.py --data DIR --weights resnet56-cifar10.safetensors

The first is `train-prune --target latency=0.5` by l2; the others keep one share of every group of coupled
channels, the most important by l2: the nearest in measured time that is faster, and the nearest that is
slower, since widths have steps and none is quite as fast. All are fine-tuned alike, from the same baseline,
and measured again. Some fifteen minutes of measuring and three trainings; what is done is kept under --runs.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from measuring import machine, timed, trained

from edgeprune.files.writing import write_json
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.graph.plan import Plan
from edgeprune.importance import score
from edgeprune.latency import BenchTarget
from edgeprune.latency.end_to_end import EndToEndTimer
from edgeprune.runs.run import Run
from edgeprune.train_prune.options import TrainPruneOptions

SHARES = tuple(k / 16 for k in range(3, 16))  # every width that a stream of 16 channels can have


def uniform(graph: Graph, share: float) -> Plan:
    """The same share of every group, the most important by l2."""
    scores, keep = score(graph, "l2"), np.zeros(graph.classes, dtype=bool)
    for group in graph.groups:
        ranked = group.classes[np.argsort(-scores[group.classes], kind="stable")]
        keep[ranked[: max(2, round(share * group.size))]] = True
    return Plan.of(graph, keep)


def times_of(graph: Graph, timer: EndToEndTimer, kept: Path) -> dict[str, float]:
    """The measured share of the baseline's time of every uniform plan; those in the file ``kept`` are known.

    All are measured: time is no rising function of the widths, since a device likes some of them better.
    """
    known: dict[str, float] = json.loads(kept.read_text()) if kept.exists() else {}
    for share in SHARES:
        if str(share) not in known:
            known[str(share)] = timer.measure(graph, uniform(graph, share)).share
            print(f"  uniform {share}: {known[str(share)]:.3f} of the time", flush=True)
            write_json(kept, known)
    return known


def nearest(times: dict[str, float], expected: float) -> dict[str, float]:
    """The shares of the plans next to that time on either side."""
    faster = [share for share in times if times[share] <= expected]
    slower = [share for share in times if times[share] > expected]
    return {
        "uniform_faster": float(max(faster, key=times.__getitem__)),
        "uniform_slower": float(min(slower, key=times.__getitem__)),
    }


def main() -> None:
    """Ours, then the rivals, then all."""
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
    args = parser.parse_args()
    options = TrainPruneOptions(
        model=args.model, data=args.data, weights=args.weights, epochs=args.epochs, schedule="onecycle",
        lr=0.02, nesterov=True,
    )  # fmt: skip
    best = {"method": "l2", "prune_schedule": "one-shot", "target": args.target}
    summary = {"ours": trained(args.runs / "ours", TrainPruneOptions(**{**vars(options), **best}))}
    ours = Run.open(args.runs / "ours")
    baseline, shape, site = ours.load("baseline"), tuple(ours.config["input_shape"]), BenchTarget.reach()
    graph = build_graph(baseline, torch.zeros(1, *shape))
    times = times_of(graph, EndToEndTimer(baseline, shape, site), args.runs / "times.json")
    for name, share in nearest(times, summary["ours"]["target"]["got_fraction"]).items():
        plan_file = args.runs / f"{name}.json"
        write_json(plan_file, uniform(graph, share).to_dict(graph))
        rival = TrainPruneOptions(**{**vars(options), "plan": str(plan_file)})
        summary[name] = trained(args.runs / name, rival)
    models = {name: Run.open(args.runs / name).load() for name in summary}
    rows = {
        name: {
            "accuracy": result["models"]["pruned"]["accuracy"],
            "accuracy_before": result["models"]["settled"]["accuracy"],
            "flops_fraction": result["flops_fraction"],
            "params_fraction": result["params_fraction"],
            **timed(baseline, models[name], shape, site, 10.0),
        }
        for name, result in summary.items()
    }
    result = {
        "schema": 1,
        "machine": machine(),
        "epochs": args.epochs,
        "baseline_accuracy": summary["ours"]["models"]["baseline"]["accuracy"],
        "rows": rows,
        "uniform_times": times,
        "passed": all(rows["ours"]["accuracy"] >= row["accuracy"] for row in rows.values()),
    }
    write_json(args.out, result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
