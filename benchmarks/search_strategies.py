"""Clusters with rollback in 200 trials against plain Bayesian optimisation in 400, over seeds.

python benchmarks/search_strategies.py --data DIR --weights resnet56-cifar10.safetensors

ResNet-56 on CIFAR-10 at half of the FLOPs. Each search keeps its own folder under --work, so that a script
that was stopped goes on; the result is results/search_resnet56.json, the curves docs/pictures/search_resnet56.png.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from measuring import machine

from edgeprune.files.writing import write_json, written_aside
from edgeprune.records.search import SearchResult
from edgeprune.search import SearchOptions, search
from edgeprune.search.pictures import plot_progress, strategy_of

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"

WAYS: dict[str, dict[str, Any]] = {
    "gradual": {"trials": 200, "rollback": "gradual"},
    "plain": {"trials": 400, "clusters": 0},
    "direct": {"trials": 200, "rollback": "direct"},
    "none": {"trials": 200, "rollback": "none"},
    "tpe": {"trials": 200, "clusters": 0, "sampler": "tpe"},
    "random": {"trials": 200, "sampler": "random", "clusters": 0},
    "sensitivity": {"sampler": "sensitivity"},
}
KEPT = (
    "model", "data", "target", "images", "sampler", "clusters", "rollback", "distance", "seed", "uniform",
    "baseline", "best_test", "seconds_per_trial", "reconstruct", "criterion", "wall", "precision",
)  # fmt: skip


def row(way: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """One search, begun or gone on with; what is kept of it."""
    out = Path(args.work) / f"{way}-{seed}"
    options = {
        "source": "resnet56", "data": args.data, "weights": args.weights, "seed": seed, "target": "flops=0.5",
        "criterion": args.criterion, "reconstruct": args.reconstruct, "calibration": args.calibration,
        "final_calibration": args.final, "distance": args.distance, **WAYS[way],
    }  # fmt: skip
    result = search(out, SearchOptions.of(options), resume=out.exists())
    print(f"{way} {seed}: {result.best.reward:.4f}, test {result.best_test:.4f}", flush=True)
    content = result.to_dict()
    trials = [{"reward": trial.reward, "stage": trial.stage} for trial in result.trials]
    best = {key: content["best"][key] for key in ("number", "reward", "widths", "fractions")}
    return {"way": way, **{key: content[key] for key in KEPT}, "best": best, "trials": trials}


def result_of(row: dict[str, Any]) -> SearchResult:
    """The result of a row, with nothing where the row kept nothing: the plot needs no more."""
    unknown: dict[str, Any] = {
        "widths": [],
        "ratios": [],
        "fractions": {},
        "seconds": 0.0,
        "copied_from": None,
    }
    trials = [{**unknown, **trial, "number": number} for number, trial in enumerate(row["trials"])]
    empty: dict[str, Any] = {
        "schema": 1, "source": row["model"], "target_fractions": {}, "plan": "", "next": "", "trials_asked": 0,
        "groups": [], "sizes": [], "links": [], "measured": None, "notes": [], "versions": {}, "machine": {},
    }  # fmt: skip
    best = {**unknown, "stage": "", **row["best"]}
    return SearchResult.from_dict(
        {"bridge": None, **empty, **row, "best": best, "trials": trials}, row["way"]
    )


def draw(rows: list[dict[str, Any]], place: Path) -> None:
    """The curves of all that searched."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 4.8), dpi=130, layout="constrained")
    plot_progress(figure, [result_of(row) for row in rows if len(row["trials"]) > 1])
    with written_aside(place) as aside:
        FigureCanvasAgg(figure).print_png(str(aside))


def main() -> None:
    """Search what is missing, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--ways", default="gradual,plain")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--criterion", default="l1")
    parser.add_argument("--reconstruct", default="kernel")
    parser.add_argument("--distance", default="st")
    parser.add_argument("--calibration", type=int, default=1000)
    parser.add_argument("--final", type=int, default=4000)
    parser.add_argument("--note", help="about the machine, for the table")
    parser.add_argument("--work", default="runs/search-strategies")
    parser.add_argument("--out", default="results/search_resnet56.json")
    args = parser.parse_args()
    place = Path(args.out)
    kept = json.loads(place.read_text()) if place.exists() else {"rows": [], "note": ""}
    rows, note = kept["rows"], args.note or kept["note"]
    for seed in map(int, args.seeds.split(",")):
        for way in args.ways.split(","):
            if not any((row["way"], row["seed"]) == (way, seed) for row in rows):
                rows.append(row(way, seed, args))
                write_json(place, {"schema": 1, "machine": machine(), "note": note, "rows": rows})
    draw(rows, PICTURES / place.with_suffix(".png").name)
    for result in map(result_of, rows):
        strategy = strategy_of(result.sampler, result.clusters, result.rollback)
        print(f"{strategy}, seed {result.seed}: {100 * result.best.reward:.2f} %")


if __name__ == "__main__":
    main()
