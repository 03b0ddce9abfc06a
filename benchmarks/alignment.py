"""Measure widths that fit the processor's blocks: LR-ASPP at half of its FLOPs, with and without `align`.

    python benchmarks/alignment.py --out results/alignment.json

Random weights, which times do not mind; each pair is measured in turn, in one run, on one thread.
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
from edgeprune.models import build

NAME, SIDE, TARGET = "lraspp_mobilenet_v3_large", 96, "flops=0.5"


def row_of(key: Row) -> Row:
    """Prune with an alignment, and measure against the unpruned network."""
    torch.manual_seed(0)
    model = build(NAME, num_classes=11).eval()
    pruned = edgeprune.prune(model, torch.zeros(1, 3, SIDE, SIDE), target=TARGET, align=key["align"])
    with tempfile.TemporaryDirectory() as scratch:
        files = {name: Path(scratch) / f"{name}.onnx" for name in ("baseline", "pruned")}
        export_model(model, (3, SIDE, SIDE), files["baseline"])
        export_model(pruned.model.eval(), (3, SIDE, SIDE), files["pruned"])
        result = bench_models(files, options=BenchOptions(load_device("cpu"), threads=1, seconds=4.0))
    assert result.speedup is not None
    return {
        "p50_ms": {name: model.latency_ms.p50 for name, model in result.models.items()},
        "speedup": result.speedup.to_dict(),
    }


def main() -> None:
    """Make all rows that are missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/alignment.json"))
    about = {"model": NAME, "image_size": SIDE, "target": TARGET, "threads": 1}
    Rows(parser.parse_args().out, about).run([{"align": align} for align in (1, 8)], row_of)


if __name__ == "__main__":
    main()
