"""Keep what a run came to: results/NAME.json (options, summary, measurement) and the pruned model beside it.

python benchmarks/collect.py runs/r56 resnet56-cifar10-learned --model
"""

import argparse
from pathlib import Path
from typing import Any

import edgeprune
from edgeprune.files.reading import read_json
from edgeprune.files.writing import write_json
from edgeprune.runs.run import Run

RESULTS = Path(__file__).parents[1] / "results"


def without_samples(bench: dict[str, Any]) -> dict[str, Any]:
    """A measurement without its raw samples, which stay in the run folder, and without paths."""
    models = {
        name: {k: Path(v).name if k == "file" else v for k, v in model.items() if k != "samples_ns"}
        for name, model in bench["models"].items()
    }
    return {**bench, "models": models}


def portable(options: dict[str, Any]) -> dict[str, Any]:
    """Options with paths cut to their last part."""
    return {k: Path(v).name if k in ("data", "weights", "data_root") and v else v for k, v in options.items()}


def epochs_of(run: Run) -> list[dict[str, Any]]:
    """Validation accuracy by epoch, and how the active share went."""
    kept = ("stage", "step", "kind", "val_accuracy", "loss", "lr", "flops_fraction", "interacting")
    every = [m for m in run.training.metrics() if m["kind"] == "epoch" or m["step"] % 250 == 0]
    return [{k: m[k] for k in kept if k in m} for m in every]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("name")
    parser.add_argument("--model", action="store_true", help="keep the pruned model too")
    args = parser.parse_args()
    run = Run.open(args.run)
    config = run.config
    record = {
        "schema": 1,
        "options": portable(config["options"]),
        "versions": config["versions"],
        "weights_sha256": config["weights_sha256"],
        "summary": run.summary().to_dict(),
        "history": epochs_of(run),
        "bench": {p.stem: without_samples(read_json(p)) for p in sorted((run.path / "bench").glob("*.json"))},
    }
    write_json(RESULTS / f"{args.name}.json", record)
    if args.model:
        edgeprune.save(run.load("pruned"), RESULTS / f"{args.name}.safetensors")
    print(f"kept {args.name} in results/")


if __name__ == "__main__":
    main()
