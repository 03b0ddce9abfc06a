"""Measure what one choice of widths and precisions gains over two: three ways to the same latency.

    python benchmarks/joint.py --data DIR --weights resnet20.safetensors --out results/joint.json

Ways: "joint" chooses widths and precisions together; "fp32, then int8" chooses widths by the float32 table, as many as
let the file with all layers in int8 meet the time; "int8, then widths" by the int8 table. All ask for the same share of
the float32 original's time, train for as many epochs, and are measured in one interleaved run each: the int8 file
against the float32 original, with the accuracy of both on the test images. Runs are kept in --runs and resumed.

The third asks for the target over what all in int8 takes of the original's time, which is measured first unless
--int8-share gives it.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from measuring import Row, Rows, network, trained
from torch import nn

from edgeprune.backends import export_run
from edgeprune.backends.base import MODELS
from edgeprune.backends.onnx import Onnx
from edgeprune.backends.onnx_int8 import OnnxInt8
from edgeprune.bench.measuring import bench_models
from edgeprune.bench.options import BenchOptions
from edgeprune.data import DataBundle
from edgeprune.devices import load_device
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.graph.plan import Plan
from edgeprune.importance import score
from edgeprune.latency import BenchTarget, device_budget
from edgeprune.latency.calibrate import Measured
from edgeprune.latency.device import TimeSolver
from edgeprune.latency.end_to_end import EndToEndTimer, Look
from edgeprune.latency.mixed import INT8
from edgeprune.records.bench import SpeedupRange
from edgeprune.rewrite.compaction import compact
from edgeprune.runs.run import Run
from edgeprune.train_prune.options import TrainPruneOptions

JOINT, FLOAT_FIRST, INT8_FIRST = ORDERS = ("joint", "fp32, then int8", "int8, then widths")


def in_int8(model: nn.Module) -> dict[str, str]:
    """All layers in int8."""
    kinds = (nn.Conv2d, nn.Linear)
    return {name: INT8 for name, module in model.named_modules() if isinstance(module, kinds)}


def int8_share(arguments: Any) -> float:
    """The share of the float32 original's time that all of its layers in int8 take, measured."""
    net, shape = network(arguments.model, arguments.weights)
    where = BenchTarget.reach(threads=arguments.threads)
    timer = EndToEndTimer(net, shape, where, arguments.seconds)
    return 1 / timer.times(net, precisions=in_int8(net)).value


def float_widths(arguments: Any, place: Path) -> str:
    """A keep-plan by the float32 table whose file in int8 meets the target as measured; its file."""
    if not place.exists():
        net, shape = network(arguments.model, arguments.weights)
        graph = build_graph(net, torch.zeros(1, *shape))
        where = BenchTarget.reach(threads=arguments.threads)
        budget = device_budget(
            net, shape, f"latency={arguments.target}", where, graph=graph, plan_seconds=arguments.plan_seconds
        )
        timer = EndToEndTimer(net, shape, where)

        def measure(graph: Graph, plan: Plan, look: Look | None = None) -> Measured:
            pruned = compact(graph, plan).model
            return timer.times(pruned, look, in_int8(pruned)).measured

        assert isinstance(budget.solver, TimeSolver)
        budget = replace(budget, solver=replace(budget.solver, measure=measure))
        plan = budget.finalize(graph, score(graph, arguments.method))
        print(*plan.notes, sep="\n", flush=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        plan.record(graph).write(place)
    return str(place)


def options_of(order: str, share: float, arguments: Any) -> TrainPruneOptions:
    """The options of a run that asks for the same time by one of the ways."""
    common = TrainPruneOptions(
        model=arguments.model, weights=arguments.weights, data=arguments.data, epochs=arguments.epochs,
        seed=arguments.seed,
    )  # fmt: skip
    if order == FLOAT_FIRST:
        return replace(common, plan=float_widths(arguments, arguments.runs / f"plan-{arguments.target}.json"))
    timed = replace(
        common, method=arguments.method, target=f"latency={arguments.target}",
        target_threads=arguments.threads, plan_seconds=arguments.plan_seconds,
    )  # fmt: skip
    if order == JOINT:
        return replace(timed, precisions="fp32,int8")
    return replace(timed, target=f"latency={arguments.target / share:.4f}", target_precision=INT8)


def measured(place: Path, order: str, arguments: Any) -> dict[str, Any]:
    """The int8 file of a run beside the float32 original, interleaved: time, accuracy, size."""
    if not (place / "export" / OnnxInt8().file_name(MODELS[1])).exists():
        export_run(place, to=["onnx", OnnxInt8(keep_float="auto" if order == JOINT else "none")])
    files = {
        MODELS[0]: place / "export" / Onnx().file_name(MODELS[0]),
        MODELS[1]: place / "export" / OnnxInt8().file_name(MODELS[1]),
    }
    data: DataBundle = Run.open(place).data()
    options = BenchOptions(
        load_device("cpu"), threads=arguments.threads, seconds=arguments.seconds, rounds=arguments.rounds
    )
    result = bench_models(files, options=options, batches=lambda: data.batches("test"))
    pruned, baseline = result.models[MODELS[1]], result.models[MODELS[0]]
    return {
        "speedup": ends(result.speedup),
        "speedup_undisturbed": ends(result.speedup_undisturbed),
        "baseline_ms": baseline.latency_ms.p50,
        "ms": pruned.latency_ms.p50,
        "baseline_accuracy": baseline.accuracy,
        "int8_accuracy": pruned.accuracy,
        "file_bytes": files[MODELS[1]].stat().st_size,
    }


def ends(interval: SpeedupRange | None) -> list[float] | None:
    """A speedup with the ends of its interval."""
    return None if interval is None else [interval.value, interval.low, interval.high]


def row_of(key: Row, arguments: Any, share: float) -> Row:
    """Train, export and measure in one order."""
    place = arguments.runs / f"{key['order'].replace(', ', '-').replace(' ', '-')}-{arguments.target}"
    summary = trained(place, options_of(key["order"], share, arguments))
    run = Run.open(place)
    return {
        "int8_share": share,
        "fp32_accuracy": summary.models.pruned.score("accuracy"),
        "flops_fraction": summary.flops_fraction,
        "params_fraction": summary.params_fraction,
        "precisions": dict(run.precisions() or {}) or None,
        "notes": list(summary.notes),
        **measured(place, key["order"], arguments),
    }


def markdown(rows: list[Row]) -> str:
    """The rows as a table."""
    lines = [
        "| order | FLOPs kept | layers in int8 | float32 accuracy | int8 accuracy | time of the original's |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        precisions = (row["precisions"] or {}).values()
        count = f"{sum(kind == INT8 for kind in precisions)} of {len(precisions)}" if precisions else "all"
        lines.append(
            f"| {row['order']} | {100 * row['flops_fraction']:.0f} % | {count} | {100 * row['fp32_accuracy']:.2f} % "
            f"| {100 * row['int8_accuracy']:.2f} % | {row['ms'] / row['baseline_ms']:.3f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--data", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--target", type=float, default=0.35)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--method", default="l1")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plan-seconds", type=float, default=240.0)
    parser.add_argument("--seconds", type=float, default=20.0, help="of the final measurement, each model")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument(
        "--int8-share", type=float, help="of the original's time; measured where it is not given"
    )
    parser.add_argument("--orders", nargs="+", default=ORDERS, choices=ORDERS)
    parser.add_argument("--runs", type=Path, default=Path("runs/joint"))
    parser.add_argument("--out", type=Path, default=Path("results/joint.json"))
    arguments = parser.parse_args()
    about = {
        name: getattr(arguments, name) for name in ("model", "target", "epochs", "method", "threads", "seed")
    }
    rows = Rows(arguments.out, about)
    known = next((row["int8_share"] for row in rows.rows), arguments.int8_share)
    share = known or int8_share(arguments)
    print(f"all in int8 takes {share:.3f} of the original's time", flush=True)
    print(
        markdown(
            rows.run(
                [{"order": order} for order in arguments.orders], lambda key: row_of(key, arguments, share)
            )
        )
    )


if __name__ == "__main__":
    main()
