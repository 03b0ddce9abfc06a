"""Against Torch-Pruning 1.6.1 and the best of its `round_to`, at equal latency and at equal FLOPs.

    pip install torch-pruning==1.6.1
    python benchmarks/against_round_to.py --out results/against_round_to.json

Its BasePruner (l2, global) takes half of the FLOPs with each `round_to`; the fastest, as measured by
ONNX Runtime on this machine's CPU, is its best. Ours is then asked twice: for that latency, where it must
keep more of the summed importance (by one and the same scores, l2 of the coupled channels); and for those
FLOPs on the device, where it must be faster. Both are measured beside Torch-Pruning's network, in a run.
Needs a quiet machine; it goes on where it was stopped.
"""

import argparse
import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import SURE, TRIES, Row, Rows, network, quiet, timed
from torch import nn

from edgeprune import api
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.importance import score
from edgeprune.latency import BenchTarget
from edgeprune.latency.end_to_end import EndToEndTimer

NETWORKS = ("torchvision:resnet18", "torchvision:resnet50", "torchvision:mobilenet_v2")
ROUND_TO = (1, 8, 16, 32)
FLOPS = 0.5
NEAR = 0.01


def theirs(model: nn.Module, shape: tuple[int, ...], round_to: int, ratio: float) -> nn.Module:
    """One step of Torch-Pruning at a ratio of the channels."""
    import torch_pruning as tp

    model = copy.deepcopy(model)
    for norm in batch_norms(model).values():  # what is left of these says which channels stayed
        norm.running_mean.copy_(torch.arange(norm.num_features))
    head = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1:]
    pruner = tp.pruner.BasePruner(
        model,
        torch.zeros(1, *shape),
        importance=tp.importance.MagnitudeImportance(p=2),
        pruning_ratio=ratio,
        max_pruning_ratio=0.95,
        global_pruning=True,
        ignored_layers=head,
        round_to=None if round_to == 1 else round_to,
    )
    pruner.step()
    return model


def at_flops(model: nn.Module, shape: tuple[int, ...], round_to: int, fraction: float) -> nn.Module:
    """Torch-Pruning at a share of the FLOPs: by halving the interval of its ratio of channels."""
    total = build_graph(model, torch.zeros(1, *shape)).flops()
    low, high, best = 0.0, 0.9, None
    for _ in range(12):
        middle = (low + high) / 2
        result = theirs(model, shape, round_to, middle)
        share = build_graph(result, torch.zeros(1, *shape)).flops() / total
        if best is None or abs(share - fraction) < abs(best[0] - fraction):
            best = (share, result)
        if abs(share - fraction) <= NEAR * fraction:
            break
        low, high = (middle, high) if share > fraction else (low, middle)
    assert best is not None
    return best[1]


def batch_norms(model: nn.Module) -> dict[str, nn.BatchNorm2d]:
    """By name."""
    return {name: m for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}


def kept_by(graph: Graph, pruned: nn.Module) -> np.ndarray:
    """Which of our classes another pruner kept, by the numbers it left in the BatchNorms."""
    keep = np.ones(graph.classes, dtype=bool)
    for name, norm in batch_norms(pruned).items():
        classes = graph.param_axes[f"{name}.running_mean", 0]
        present = np.zeros(len(classes), dtype=bool)
        present[norm.running_mean.round().long().numpy()] = True
        keep[classes[(classes >= 0) & ~present]] = False
    return keep


def rival(key: Row, timer: EndToEndTimer) -> Row:
    """One network pruned by Torch-Pruning with one `round_to`, beside the unpruned one."""
    model, shape = timer.baseline, timer.shape
    graph = build_graph(model, torch.zeros(1, *shape))
    result = at_flops(model, shape, key["round_to"], FLOPS)
    scores, keep = score(graph, "l2"), kept_by(graph, result)
    share = build_graph(result, torch.zeros(1, *shape)).flops() / graph.flops()
    times = timer.times(result)._asdict()
    return {**times, "flops_share": share, "importance": float(scores[keep].sum() / scores.sum())}


def ours(key: Row, best: Row, seconds: float) -> Row:
    """Ours at the latency, or at the FLOPs, of Torch-Pruning's best; measured beside it."""
    model, shape = network(key["model"])
    rivals = at_flops(model, shape, best["round_to"], FLOPS)
    target = (
        f"latency={1 / best['value']:.4f}" if key["at"] == "latency" else f"flops={best['flops_share']:.4f}"
    )
    done = api.prune(model, torch.zeros(1, *shape), criterion="l2", target=target, device="cpu")
    scores = score(done.graph, "l2")
    importance = float(scores[done.plan.keep].sum() / scores.sum())
    against = timed(rivals, done.model, shape, BenchTarget.reach(), seconds)
    more = importance > best["importance"] and against["high"] >= 1  # at their latency, within noise
    return {
        "target": target,
        "round_to": best["round_to"],
        "importance": importance,
        "importance_theirs": best["importance"],
        "flops_share": done.report.flops[1] / done.report.flops[0],
        "speedup_over_theirs": {name: against[name] for name in ("value", "low", "high")},
        "notes": list(done.report.notes),
        "passed": bool(more if key["at"] == "latency" else against["value"] > 1),
    }


def main() -> None:
    """All rows that are missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("results/against_round_to.json"))
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--seconds", type=float, default=5.0)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    about: dict[str, Any] = {"flops": FLOPS, "seconds": args.seconds}
    kept = Rows(args.out, about)
    for name in args.networks:
        timer = EndToEndTimer(*network(name), BenchTarget.reach(), args.seconds, SURE, TRIES)
        quiet(kept, timer, {"model": name, "side": "theirs"})
        keys = [{"model": name, "side": "theirs", "round_to": step} for step in ROUND_TO]
        rows = kept.run(keys, lambda key, timer=timer: rival(key, timer))
        best = max(
            (r for r in rows if r["model"] == name and r["side"] == "theirs"), key=lambda r: r["value"]
        )
        sides = [{"model": name, "side": "ours", "at": at} for at in ("latency", "flops")]
        kept.run(sides, lambda key, best=best: ours(key, best, args.seconds))
    judged = [row for row in kept.rows if row["side"] == "ours"]
    print(f"{sum(row['passed'] for row in judged)} of {len(judged)} passed")


if __name__ == "__main__":
    main()
