"""Measure what widths cost that are no multiples of what the processor takes at once: networks at half of their FLOPs.

    python benchmarks/alignment.py [--models NAME ...] [--out results/alignment.json]

Each network is pruned by l1 norms with `align` of 1, of the default, of 8 and of 16. Random weights, which times do
not mind; each pair is measured in turn, in one run, on one thread. "default" is 8, or less in layers under 32 channels.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from measuring import Row, Rows

import edgeprune
from edgeprune.backends.onnx_export import export_model
from edgeprune.bench.measuring import bench_models
from edgeprune.bench.options import BenchOptions
from edgeprune.devices import load_device
from edgeprune.models import build, is_cifar_sized

TARGET = "flops=0.5"
MODELS = ("resnet20", "resnet56", "resnet18", "mobilenet_v2", "lraspp_mobilenet_v3_large")
ALIGNMENTS = {"1": 1, "default": None, "8": 8, "16": 16}
SIDES = {"lraspp_mobilenet_v3_large": 96}


def row_of(key: Row) -> Row:
    """Prune with an alignment, and measure against the unpruned network."""
    name = key["model"]
    side = 32 if is_cifar_sized(name) else SIDES.get(name, 224)
    torch.manual_seed(0)
    model = build(name, num_classes=10).eval()
    pruned = edgeprune.prune(
        model, torch.zeros(1, 3, side, side), target=TARGET, align=ALIGNMENTS[key["align"]]
    )
    with tempfile.TemporaryDirectory() as scratch:
        files = {name: Path(scratch) / f"{name}.onnx" for name in ("baseline", "pruned")}
        export_model(model, (3, side, side), files["baseline"])
        export_model(pruned.model.eval(), (3, side, side), files["pruned"])
        result = bench_models(files, options=BenchOptions(load_device("cpu"), threads=1, seconds=4.0))
    assert result.speedup is not None
    return {
        "image_size": side,
        "flops_fraction": pruned.report.flops[1] / pruned.report.flops[0],
        "p50_ms": {name: model.latency_ms.p50 for name, model in result.models.items()},
        "speedup": result.speedup.to_dict(),
    }


def main() -> None:
    """Make all rows that are missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=list(MODELS), metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path("results/alignment.json"))
    arguments = parser.parse_args()
    keys = [{"model": model, "align": align} for model in arguments.models for align in ALIGNMENTS]
    Rows(arguments.out, {"target": TARGET, "threads": 1}).run(keys, row_of)


if __name__ == "__main__":
    main()
