"""The best policy of a search, fine-tuned, beside uniform ratios, l1 over all layers and the learned one.

    python benchmarks/search_finetuned.py --data DIR --weights resnet56-cifar10.safetensors \
        --searched runs/search-strategies/gradual-0

One baseline, one budget, one training for all; without distillation, which the learned method would have
for its fine-tuning alone. Some ten minutes a row on two quiet cores; runs are resumed where they stopped. Two
processes may share the work, with --ways and an --out of their own; run once more without --ways, the script
writes what both came to.
"""

import argparse
from pathlib import Path

from measuring import Row, Rows, trained

from edgeprune.records.search import SearchResult
from edgeprune.search import SearchOptions, search
from edgeprune.train_prune.options import TrainPruneOptions

WAYS = ("searched", "uniform", "l1", "learned")


def main() -> None:
    """All rows that are missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument(
        "--searched", type=Path, required=True, help="the folder of a search that is finished"
    )
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--runs", type=Path, default=Path("runs/search-finetuned"))
    parser.add_argument("--out", type=Path, default=Path("results/search_finetuned.json"))
    args = parser.parse_args()
    searched = SearchResult.read(args.searched / "result.json")
    shared = {
        "model": searched.model, "data": args.data, "weights": args.weights, "target": searched.target,
        "epochs": args.epochs, "schedule": "onecycle", "lr": 0.02, "nesterov": True,
        "distill": False,
    }  # fmt: skip
    requested = {
        "source": searched.model,
        "data": args.data,
        "weights": args.weights,
        "target": searched.target,
        "sampler": "uniform",
        "final_calibration": 250,  # its own test accuracy is not looked at
    }
    even = args.runs / "uniform-search"
    if "uniform" in args.ways:
        search(even, SearchOptions.of(requested), resume=even.exists())
    own = {
        "searched": {"plan": str(args.searched / "plan.json"), "reconstruct": "sequential"},
        "uniform": {"plan": str(even / "plan.json"), "reconstruct": "sequential"},
        "l1": {"method": "l1", "prune_schedule": "one-shot", "reconstruct": "sequential"},
        "learned": {"method": "learned"},
    }

    def row_of(key: Row) -> Row:
        way = key["way"]
        summary = trained(args.runs / way, TrainPruneOptions(**shared, **own[way]))
        models = summary["models"]
        return {
            "accuracy_before": models["settled"]["accuracy"],
            "accuracy": models["pruned"]["accuracy"],
            "flops_fraction": summary["flops_fraction"],
            "params_fraction": summary["params_fraction"],
            "baseline_accuracy": models["baseline"]["accuracy"],
        }

    about = {"model": searched.model, "target": searched.target, "epochs": args.epochs}
    for row in Rows(args.out, about).run([{"way": way} for way in args.ways], row_of):
        print(f"{row['way']}: {100 * row['accuracy_before']:.2f} %, then {100 * row['accuracy']:.2f} %")


if __name__ == "__main__":
    main()
