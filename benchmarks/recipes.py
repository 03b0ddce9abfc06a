"""Compare recipes of pruning and training at equal epochs: what `--method auto` chooses by.

    python benchmarks/recipes.py --data CIFAR10 --weights resnet20.safetensors --epochs 3 10 [--recipes NAME ...]

Each prunes the same baseline to --target with the same data order and epochs; the accuracy is the last epoch's on the
test images. Runs are kept in --runs: a stopped script goes on where it was.
"""

from pathlib import Path
from typing import Any

from measuring import Row, Rows, folder_of, keys_of, trained, training_parser

from edgeprune.train_prune.options import TrainPruneOptions

COSINE = {"schedule": "cosine"}
FIT = {"reconstruct": "sequential"}
RECIPES: dict[str, dict[str, Any]] = {
    "sensitivity, 0.02 cosine": {"method": "sensitivity", **FIT, "lr": 0.02, **COSINE},
    "sensitivity, 0.05 cosine": {"method": "sensitivity", **FIT, "lr": 0.05, **COSINE},
    "sensitivity, 0.05 cosine, decay 5e-4": {
        "method": "sensitivity", **FIT, "lr": 0.05, **COSINE, "weight_decay": 5e-4,
    },
    "sensitivity, 0.1 cosine": {"method": "sensitivity", **FIT, "lr": 0.1, **COSINE},
    "sensitivity, steps": {"method": "sensitivity", **FIT},
    "whc fitted, 0.05 cosine": {"method": "whc", **FIT, "lr": 0.05, **COSINE},
    "whc fitted, 0.02 cosine": {"method": "whc", **FIT, "lr": 0.02, **COSINE},
    "whc, steps": {"method": "whc"},
    "learned, 0.02 cosine": {"method": "learned", "lr": 0.02, **COSINE},
    "learned, masks alone, 0.02 cosine": {"method": "learned", "allocation": "masks", "lr": 0.02, **COSINE},
    "sensitivity, 0.02 cosine, no fit": {"method": "sensitivity", "reconstruct": "none", "lr": 0.02, **COSINE},
    "sensitivity, 0.02 cosine, folded": {"method": "sensitivity", "reconstruct": "fold", "lr": 0.02, **COSINE},
    "sensitivity, 0.02 cosine, by kernel": {"method": "sensitivity", "reconstruct": "kernel", "lr": 0.02, **COSINE},
    "sensitivity, 0.02 cosine, merged": {"method": "sensitivity", "reconstruct": "merge", "lr": 0.02, **COSINE},
    "sensitivity, 0.02 cosine, compensated": {"method": "sensitivity", **FIT, "lr": 0.02, **COSINE, "compensate": True},
    "lindeps folded, 0.02 cosine": {"method": "lindeps", "lr": 0.02, **COSINE},
    "sensitivity, 0.05 cosine, average": {"method": "sensitivity", **FIT, "lr": 0.05, **COSINE, "ema": 0.995},
    "sensitivity, 0.05 cosine, no teacher": {
        "method": "sensitivity", **FIT, "lr": 0.05, **COSINE, "distill": False,
    },
}  # fmt: skip


def row_of(key: Row, arguments: Any) -> Row:
    """Train one recipe; the accuracies of the baseline and of the pruned network, and what is left of it."""
    options = TrainPruneOptions(
        model=arguments.model, data=str(arguments.data), weights=str(arguments.weights), target=arguments.target,
        epochs=key["epochs"], seed=key["seed"], precision=arguments.precision, compile=arguments.compile, align=1,
        **RECIPES[key["recipe"]],
    )  # fmt: skip
    summary = trained(folder_of(arguments, key, key["recipe"]), options)
    models = summary.models
    return {
        "baseline_accuracy": models.baseline.score("accuracy"),
        "accuracy_before": models.settled.score("accuracy"),
        "accuracy": models.pruned.score("accuracy"),
        "flops_fraction": summary.flops_fraction,
        "params_fraction": summary.params_fraction,
    }


def main() -> None:
    parser = training_parser(__doc__)
    parser.set_defaults(epochs=[3, 10])
    parser.add_argument("--target", default="flops=0.5")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=RECIPES, metavar="NAME")
    parser.add_argument("--runs", type=Path, default=Path("runs/recipes"))
    parser.add_argument("--out", type=Path, default=Path("results/recipes.json"))
    arguments = parser.parse_args()
    rows = Rows(arguments.out, {"target": arguments.target, "precision": arguments.precision})
    rows.run(keys_of(arguments, "recipe", arguments.recipes), lambda key: row_of(key, arguments))


if __name__ == "__main__":
    main()
