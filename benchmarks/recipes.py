"""Compare recipes of pruning and training at equal epochs: what `--method auto` chooses by.

    python benchmarks/recipes.py --data CIFAR10 --weights resnet20.safetensors --epochs 3 10 [--recipes NAME ...]

Each prunes the same baseline to --target with the same data order and epochs; the accuracy is the last epoch's on the
test images. Runs are kept in --runs: a stopped script goes on where it was.
"""

import argparse
from pathlib import Path
from typing import Any

from measuring import Row, Rows, trained

from edgeprune.train_prune.options import TrainPruneOptions

COSINE = {"schedule": "cosine"}
FIT = {"reconstruct": "sequential"}
RECIPES: dict[str, dict[str, Any]] = {
    "sensitivity, 0.02 cosine": {"method": "sensitivity", **FIT, "lr": 0.02, **COSINE},
    "sensitivity, 0.05 cosine": {"method": "sensitivity", **FIT, "lr": 0.05, **COSINE},
    "sensitivity, 0.1 cosine": {"method": "sensitivity", **FIT, "lr": 0.1, **COSINE},
    "sensitivity, steps": {"method": "sensitivity", **FIT},
    "whc fitted, 0.05 cosine": {"method": "whc", **FIT, "lr": 0.05, **COSINE},
    "whc fitted, 0.02 cosine": {"method": "whc", **FIT, "lr": 0.02, **COSINE},
    "whc, steps": {"method": "whc"},
    "learned, 0.05 cosine": {"method": "learned", "lr": 0.05, **COSINE},
    "learned, steps": {"method": "learned"},
    "sensitivity, 0.05 cosine, average": {"method": "sensitivity", **FIT, "lr": 0.05, **COSINE, "ema": 0.995},
    "sensitivity, 0.05 cosine, no teacher": {
        "method": "sensitivity", **FIT, "lr": 0.05, **COSINE, "distill": False,
    },
}  # fmt: skip


def row_of(key: Row, arguments: Any) -> Row:
    """Train one recipe; the accuracies of the baseline and of the pruned network, and what is left of it."""
    name = key["recipe"].replace(", ", "-").replace(" ", "-")
    options = TrainPruneOptions(
        model=arguments.model, data=str(arguments.data), weights=str(arguments.weights), target=arguments.target,
        epochs=key["epochs"], seed=key["seed"], precision=arguments.precision, **RECIPES[key["recipe"]],
    )  # fmt: skip
    summary = trained(arguments.runs / f"{arguments.model}-{key['epochs']}-{name}-{key['seed']}", options)
    models = summary.models
    return {
        "baseline_accuracy": models.baseline.score("accuracy"),
        "accuracy": models.pruned.score("accuracy"),
        "flops_fraction": summary.flops_fraction,
        "params_fraction": summary.params_fraction,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--target", default="flops=0.5")
    parser.add_argument("--epochs", type=int, nargs="+", default=[3, 10])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=RECIPES, metavar="NAME")
    parser.add_argument("--runs", type=Path, default=Path("runs/recipes"))
    parser.add_argument("--out", type=Path, default=Path("results/recipes.json"))
    arguments = parser.parse_args()
    rows = Rows(arguments.out, {"target": arguments.target, "precision": arguments.precision})
    keys = [
        {"model": arguments.model, "epochs": epochs, "seed": seed, "recipe": recipe}
        for epochs in arguments.epochs
        for seed in range(arguments.seeds)
        for recipe in arguments.recipes
    ]
    rows.run(keys, lambda key: row_of(key, arguments))


if __name__ == "__main__":
    main()
