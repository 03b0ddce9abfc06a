"""Is a plan that was made for a device ever slower than the unpruned network on it?

    python benchmarks/never_slower.py --out results/never_slower.json

Thirty random networks, targets and criteria; each is pruned for this machine's CPU and measured again, beside
the unpruned network, in a run of its own. Passed: the upper end of the speedup's interval is at least 1.0, or
pruning said beforehand that nothing can be gained. Needs a quiet machine; it goes on where it was stopped.
"""

import argparse
import random
from pathlib import Path
from typing import Any

import torch
from measuring import Row, Rows, network, timed

from edgeprune import api
from edgeprune.errors import TargetError
from edgeprune.latency import BenchTarget

NETWORKS = (
    "resnet8", "resnet14", "resnet20", "resnet56", "mobilenetv2_cifar", "mobilenetv1_cifar", "vgg16_cifar",
    "torchvision:resnet18", "torchvision:mobilenet_v2", "torchvision:squeezenet1_1",
)  # fmt: skip
CRITERIA = ("l1", "l2", "fpgm", "bn-scale", "random")
NO_BATCHNORM = "torchvision:squeezenet1_1"


def drawn(count: int) -> list[Row]:
    """The same every time."""
    draw = random.Random(0)
    keys = []
    for seed in range(count):
        kind = draw.choice(("latency", "flops", "params", "memory"))
        model, target = draw.choice(NETWORKS), f"{kind}={draw.uniform(0.3, 0.95):.3f}"
        criterion = draw.choice(CRITERIA)
        if criterion == "bn-scale" and model == NO_BATCHNORM:
            criterion = "l1"  # as the refusal of bn-scale advises
        keys.append({"seed": seed, "model": model, "target": target, "criterion": criterion})
    return keys


def row_of(key: Row, seconds: float) -> Row:
    """One network pruned, and measured."""
    model, shape = network(key["model"])
    site = BenchTarget.reach()
    try:
        done = api.prune(
            model, torch.zeros(1, *shape), criterion=key["criterion"], target=key["target"], device=site
        )
    except TargetError as error:
        return {"said": str(error), "passed": True}
    times = timed(model, done.model, shape, site, seconds)
    return {**times, "notes": list(done.report.notes), "passed": times["high"] >= 1.0}


def main() -> None:
    """All rows that are missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("results/never_slower.json"))
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=4.0)
    args = parser.parse_args()
    about: dict[str, Any] = {"seconds": args.seconds}
    rows = Rows(args.out, about).run(drawn(args.count), lambda key: row_of(key, args.seconds))
    warned = [row for row in rows if "said" in row]
    slower = [row for row in rows if not row["passed"]]
    print(
        f"{len(rows)} plans: {len(slower)} slower, {len(warned)} said beforehand that nothing can be gained"
    )


if __name__ == "__main__":
    main()
