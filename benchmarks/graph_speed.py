"""Trace, plan and compaction against Torch-Pruning's BasePruner, in turn in one run; and growth with depth.

    python benchmarks/graph_speed.py [--rounds 7] [--out results/graph_speed.json]

Both start from the model and an example image and end with a smaller model: scores from weight magnitudes,
half of the FLOPs (ours) or 30 % of the channels (theirs; it has no FLOPs target in one step). Ours copies the
model, theirs changes it in place; the copy they start from is outside their time. Run it on a quiet machine.
"""

import argparse
import copy
import gc
import json
import statistics
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from edgeprune_target.fingerprint import cpu_model
from torch import Tensor, nn
from torchvision.models import get_model

MODELS = ("resnet50", "densenet121", "mobilenet_v2", "efficientnet_b0")
DEPTHS = (8, 16, 32, 64, 128)


class Chain(nn.Module):
    """``depth`` residual blocks of two convolutions."""

    def __init__(self, depth: int, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList(self._block(width) for _ in range(depth))
        self.head = nn.Linear(width, 10)

    @staticmethod
    def _block(width: int) -> nn.Sequential:
        convs = [nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2)]
        return nn.Sequential(convs[0], nn.BatchNorm2d(width), nn.ReLU(), convs[1], nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = torch.relu(x + block(x))
        return self.head(x.mean((2, 3)))


def ours(model: nn.Module, image: Tensor) -> dict[str, float]:
    """Seconds of each part."""
    from edgeprune.budget import select
    from edgeprune.graph.classes import build_graph
    from edgeprune.importance import score
    from edgeprune.rewrite.compaction import compact

    marks = [time.perf_counter()]
    graph = build_graph(model, image)
    marks.append(time.perf_counter())
    plan = select(graph, score(graph, "l1"), "flops=0.5")
    marks.append(time.perf_counter())
    compact(graph, plan)
    marks.append(time.perf_counter())
    parts = [b - a for a, b in zip(marks, marks[1:], strict=False)]
    return {
        **dict(zip(("trace_s", "plan_s", "compact_s"), parts, strict=True)),
        "total_s": marks[-1] - marks[0],
    }


def theirs(model: nn.Module, image: Tensor) -> dict[str, float]:
    """Seconds of Torch-Pruning's BasePruner, from construction to the end of its one step."""
    import torch_pruning as tp

    model = copy.deepcopy(model)
    head = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1:]
    started = time.perf_counter()
    importance = tp.importance.MagnitudeImportance(p=1)
    pruner = tp.pruner.BasePruner(
        model, image, importance=importance, pruning_ratio=0.3, global_pruning=True, ignored_layers=head
    )
    pruner.step()
    return {"total_s": time.perf_counter() - started}


def timed(
    run: Callable[[nn.Module, Tensor], dict[str, float]], model: nn.Module, image: Tensor
) -> dict[str, float]:
    """One run with a clean heap."""
    gc.collect()
    return run(model, image)


def compare(name: str, rounds: int) -> dict[str, Any]:
    """Alternate the two ``rounds`` times after one warm-up each; every sample is kept."""
    model, image = get_model(name, weights=None).eval(), torch.zeros(1, 3, 224, 224)
    ours(model, image), theirs(model, image)
    samples: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}
    for _ in range(rounds):
        samples["ours"].append(timed(ours, model, image))
        samples["theirs"].append(timed(theirs, model, image))
    median = {side: statistics.median(row["total_s"] for row in rows) for side, rows in samples.items()}
    parts = {
        p: statistics.median(row[p] for row in samples["ours"]) for p in ("trace_s", "plan_s", "compact_s")
    }
    return {
        "model": name,
        "ours_s": median["ours"],
        "ours_parts": parts,
        "torch_pruning_s": median["theirs"],
        "ratio": median["ours"] / median["theirs"],
        "samples": samples,
    }


def growth(rounds: int) -> list[dict[str, float]]:
    """Time by depth of a chain of residual blocks; the last column must not grow."""
    rows, image = [], torch.zeros(1, 3, 8, 8)
    for depth in DEPTHS:
        model = Chain(depth).eval()
        ours(model, image)
        median = statistics.median(timed(ours, model, image)["total_s"] for _ in range(rounds))
        rows.append({"blocks": depth, "total_s": median, "per_block_ms": 1000 * median / depth})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    print(
        f"{'model':18s} {'ours':>8s} {'(trace':>8s} {'plan':>7s} {'compact)':>8s} {'T-P':>8s} {'ratio':>6s}"
    )
    rows = []
    for name in options.models:
        row = compare(name, options.rounds)
        parts = row["ours_parts"]
        print(
            f"{name:18s} {row['ours_s']:8.3f} {parts['trace_s']:8.3f} {parts['plan_s']:7.3f}"
            f" {parts['compact_s']:8.3f} {row['torch_pruning_s']:8.3f} {row['ratio']:6.2f}",
            flush=True,
        )
        rows.append(row)
    chain = growth(options.rounds)
    print(f"\n{'blocks':>8s} {'seconds':>9s} {'ms a block':>11s}")
    for line in chain:
        print(f"{line['blocks']:8.0f} {line['total_s']:9.3f} {line['per_block_ms']:11.2f}")
    if options.out:
        versions = {name: version(name) for name in ("torch", "torch-pruning", "torchvision")}
        record = {
            "schema": 1,
            "versions": versions,
            "machine": cpu_model(Path("/")),
            "threads": options.threads,
            "image": "1x3x224x224",
        }
        options.out.write_text(json.dumps({**record, "models": rows, "chain": chain}, indent=1) + "\n")


if __name__ == "__main__":
    main()
