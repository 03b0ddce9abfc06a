"""Prune for half of the time on each runtime, and measure what was gained in float32 and in int8.

    python benchmarks/runtimes.py --data CIFAR10 --weights resnet20.safetensors [--stages plan train ...]

Each network is pruned for latency=0.5 in float32 on each runtime, fitted and fine-tuned, exported in float32 and int8,
and measured against the unpruned file in the same precision, and the pruned int8 file against the pruned float32 file.
The networks are CIFAR-10's ResNet-20 and the MobileNetV2 of small_mobilenet.py. One thread, batch 1; accuracies are of
the 10,000 test images, by the runtime itself. Needs the packages of docs/runtimes.md: what is missing has a reason
instead of numbers.

"layers" adds to each row what the layers of the pruned files take by kind, where the runtime tells. "plan", "measure"
and "layers" want a quiet machine, "train" and "export" do not mind company: --stages parts them. A stopped script goes
on where it was.
"""

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from edgeprune_target.layering import layers
from edgeprune_target.packed import unpack
from edgeprune_target.runtimes import make_runtime
from edgeprune_target.runtimes.ncnn import PARAM
from edgeprune_target.trt.options import EngineOptions
from measuring import Row, Rows, trained
from torch import nn

from edgeprune import backends
from edgeprune.backends import export_run
from edgeprune.backends.record import ExportRecord
from edgeprune.bench.measuring import bench_models
from edgeprune.bench.options import BenchOptions
from edgeprune.bench.result import BenchResult
from edgeprune.data import DataBundle
from edgeprune.errors import EdgePruneError
from edgeprune.graph.classes import build_graph
from edgeprune.importance import score
from edgeprune.latency import BenchTarget, device_budget
from edgeprune.models import build, load_weights
from edgeprune.records.trust import trusting
from edgeprune.runs.run import Run
from edgeprune.train_prune.options import TrainPruneOptions

HERE = Path(__file__).resolve().parent
SHAPE = (3, 32, 32)
NETWORKS = {"resnet20": "resnet20", "mobilenet_v2": "small_mobilenet:build"}
SMALL_MOBILENET = HERE.parent / "results" / "small_mobilenet-cifar10.safetensors"
RUNTIMES = ("onnxruntime", "openvino", "ncnn", "litert", "executorch")
FP32, INT8 = PRECISIONS = ("fp32", "int8")
STAGES = ("plan", "train", "export", "measure", "layers")
BASELINE, PRUNED = "baseline", "pruned"


def weights_of(network: str, arguments: Any) -> Path:
    """The file of a network's trained weights."""
    return arguments.weights if network == "resnet20" else SMALL_MOBILENET


def place_of(key: Row, arguments: Any) -> Path:
    """The run's folder."""
    return arguments.runs / f"{key['network']}-{key['runtime']}"


def planned(key: Row, arguments: Any) -> Path:
    """The file of the widths that take half of the time on a runtime; they are chosen first where it is missing."""
    place = place_of(key, arguments).with_suffix(".plan.json")
    if not place.exists():
        net: nn.Module = build(NETWORKS[key["network"]], num_classes=10).eval()
        load_weights(net, str(weights_of(key["network"], arguments)))
        graph = build_graph(net, torch.zeros(1, *SHAPE))
        site = BenchTarget.reach(runtime=key["runtime"], precision=FP32, threads=1)
        budget = device_budget(
            net, SHAPE, "latency=0.5", site, graph=graph, plan_seconds=arguments.plan_seconds,
            lut=arguments.runs / f"{key['runtime']}.lut.json",
        )  # fmt: skip
        plan = budget.finalize(graph, score(graph, "l1"))
        print(f"{place.name}:", *plan.notes, sep="\n  ", flush=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        plan.record(graph).write(place)
    return place


def run_of(key: Row, arguments: Any) -> Path:
    """The finished run of a network that was pruned for a runtime."""
    options = TrainPruneOptions(
        model=NETWORKS[key["network"]], weights=str(weights_of(key["network"], arguments)), data=str(arguments.data),
        plan=str(planned(key, arguments)), reconstruct="sequential", epochs=arguments.epochs, schedule="cosine",
        precision="bf16" if key["network"] == "resnet20" else "fp32",
    )  # fmt: skip
    place = place_of(key, arguments)
    trained(place, options)
    return place


def exported(place: Path, runtime: str) -> tuple[dict[str, dict[str, Path]], dict[str, str]]:
    """The files of both models by precision, exported where they are missing, and why a precision has none."""
    kinds = {precision: backends.for_runtime(runtime, precision) for precision in PRECISIONS}
    files: dict[str, dict[str, Path]] = {}
    missing: dict[str, str] = {}
    for precision, kind in kinds.items():
        assert kind is not None
        paths = {name: place / "export" / kind.file_name(name) for name in (BASELINE, PRUNED)}
        if all(path.exists() for path in paths.values()):
            files[precision] = paths
            continue
        try:
            export_run(place, to=[kind])
        except EdgePruneError as error:
            missing[precision] = str(error)
            continue
        artifacts = ExportRecord.read(place / "export", error=EdgePruneError).of(kind)
        why = next(
            (artifact.skipped_because for artifact in artifacts.values() if artifact.skipped_because), None
        )
        if why:
            missing[precision] = why
        else:
            files[precision] = paths
    return files, missing


def speedup(result: BenchResult) -> list[float] | None:
    """The measured speedup with the ends of its interval."""
    gained = result.speedup
    return None if gained is None else [gained.value, gained.low, gained.high]


def compared(
    files: Mapping[str, Path], runtime: str, precision: str, data: DataBundle | None, arguments: Any
) -> BenchResult:
    """Measure two files in turn; with data, score both."""
    site = BenchTarget.reach(runtime=runtime, precision=precision, threads=1)
    options = BenchOptions(site.device, threads=1, seconds=arguments.seconds)
    batches = None if data is None else lambda: data.batches("test")
    return bench_models(files, {}, options=options, transport=site.transport, batches=batches)


def measured(key: Row, arguments: Any) -> Row:
    """Export and measure one run on its runtime."""
    place, runtime = run_of(key, arguments), key["runtime"]
    files, missing = exported(place, runtime)
    data = Run.open(place).data()
    row: Row = {"epochs": arguments.epochs, "missing": missing}
    for precision, pair in files.items():
        result = compared(pair, runtime, precision, data, arguments)
        row[precision] = {
            "speedup": speedup(result),
            "warnings": [warning.code for warning in result.warnings],
            **{
                name: {
                    "ms": model.latency_ms.p50,
                    "accuracy": model.accuracy,
                    "bytes": pair[name].stat().st_size,
                }
                for name, model in result.models.items()
            },
        }
    if len(files) == len(PRECISIONS):
        # The runtime reads the precision from the file.
        pair = {BASELINE: files[FP32][PRUNED], PRUNED: files[INT8][PRUNED]}
        row["int8_over_fp32"] = speedup(compared(pair, runtime, FP32, None, arguments))
    return row


def kinds_of(key: Row, arguments: Any) -> Row:
    """Return what the pruned files' layers take: precision -> kind of layer -> their number and time together, in ms.

    Timing layers slows them, so that the times are for comparison alone; empty where the runtime does not tell.
    """
    files, _ = exported(place_of(key, arguments), key["runtime"])
    if len(files) < len(PRECISIONS):
        return {}
    pair = {precision: files[precision][PRUNED] for precision in PRECISIONS}
    if key["runtime"] == "ncnn":
        return {precision: ncnn_kinds(path) for precision, path in pair.items()}
    kind = backends.for_runtime(key["runtime"], FP32)
    if kind is None or not kind.times_layers:
        return {}
    taken: dict[str, dict[str, list[float]]] = {precision: {} for precision in PRECISIONS}
    for precision, path in pair.items():
        reply = layers(
            str(path), runtime=key["runtime"], batch=1, threads=1, seconds=1.0, options=EngineOptions()
        )
        for layer in reply["layers"]:
            entry = taken[precision].setdefault(str(layer["kind"]), [0, 0.0])
            entry[0], entry[1] = entry[0] + 1, entry[1] + (layer["ms"] or 0.0)
    return taken


def ncnn_kinds(path: Path, runs: int = 500) -> dict[str, list[float]]:
    """Return kind of layer -> number and median times together, in ms, by asking ncnn for one value after the other."""
    param = unpack(str(path), PARAM)[0].decode().splitlines()[3:]
    rows = [words for line in param if (words := line.split())]
    image = np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)
    times: dict[str, list[float]] = {words[1]: [] for words in rows}
    with make_runtime("ncnn", str(path), 1) as loaded:
        net, mat = loaded.net, loaded.ncnn.Mat  # type: ignore[attr-defined]
        for _ in range(runs):
            extractor = net.create_extractor()
            extractor.set_light_mode(False)
            extractor.input("in0", mat(image).clone())
            for words in rows:
                began = time.perf_counter()
                extractor.extract(words[4 + int(words[2])])
                times[words[1]].append(1e3 * (time.perf_counter() - began))
    taken: dict[str, list[float]] = {}
    for words in rows:
        entry = taken.setdefault(words[0], [0, 0.0])
        entry[0], entry[1] = entry[0] + 1, entry[1] + median(times[words[1]])
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as folders of images")
    parser.add_argument("--weights", type=Path, required=True, help="of the ResNet-20")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--runtimes", nargs="+", default=list(RUNTIMES), choices=RUNTIMES)
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=STAGES)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--plan-seconds", type=float, default=60.0)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement, each model")
    parser.add_argument("--runs", type=Path, default=Path("runs/runtimes"))
    parser.add_argument("--out", type=Path, default=Path("results/runtimes.json"))
    arguments = parser.parse_args()
    sys.path.insert(0, str(HERE))  # small_mobilenet
    rows = Rows(arguments.out, {"target": "latency=0.5", "threads": 1})
    keys = [
        {"network": network, "runtime": runtime}
        for network in arguments.networks
        for runtime in arguments.runtimes
    ]
    with trusting("small_mobilenet"):
        for key in rows.missing(keys):
            if "plan" in arguments.stages:
                planned(key, arguments)
        for key in rows.missing(keys):
            if "train" in arguments.stages:
                run_of(key, arguments)
            if "export" in arguments.stages:
                exported(run_of(key, arguments), key["runtime"])
        if "measure" in arguments.stages:
            rows.run(keys, lambda key: measured(key, arguments))
        if "layers" in arguments.stages:
            for row in rows.rows:
                if "kinds" not in row and any(key.items() <= row.items() for key in keys):
                    row["kinds"] = kinds_of(row, arguments)
                    rows.write()


if __name__ == "__main__":
    main()
