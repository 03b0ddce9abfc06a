"""Prune every classifier of torchvision from its ONNX file by a random keep-plan, and compare it with the masked file.

    python benchmarks/onnx_torchvision.py --out results/onnx_torchvision.json [NAME ...]

Each network is exported by both of torch's exporters at opsets 13 and 18. A plan that keeps every channel must give
the file's own bytes in ONNX Runtime; a random plan must give what the original gives with zeros in place of the
dropped channels. Rows are kept as they come, so a script that was stopped goes on.
"""

import argparse
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from measuring import Row, Rows
from networks import built, names, versions
from numpy.typing import NDArray
from timm_families import random_plan, randomise
from torchvision.models import get_model_weights

from edgeprune.errors import EdgePruneError
from edgeprune.graph.classes import build_graph
from edgeprune.graph.plan import Plan
from edgeprune.onnx_graph.cutting import cut_file
from edgeprune.onnx_graph.files import OnnxFile, read
from edgeprune.onnx_graph.masking import masked_file
from edgeprune.onnx_graph.network import network_of

# The TorchScript exporter writes their adaptive pool for maps of multiples of its size alone.
POOLED = ("alexnet", "vgg")
EXPORTERS, OPSETS = ("torchscript", "dynamo"), (13, 18)


def exported(name: str, exporter: str, opset: int, path: Path) -> torch.Tensor:
    """Write a network with random weights and statistics, and return its example."""
    torch.manual_seed(0)
    model, (image,) = built("torchvision", name)
    if name.startswith(POOLED):
        image = torch.rand(1, 3, 224, 224)
    options: dict[str, Any] = (
        {"dynamo": False} if exporter == "torchscript" else {"dynamo": True, "verbose": False}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(randomise(model), (image,), str(path), opset_version=opset, **options)
    return image


def outputs_of(file: OnnxFile, image: torch.Tensor) -> list[NDArray[Any]]:
    """Return what ONNX Runtime gives."""
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = ort.InferenceSession(
        file.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {session.get_inputs()[0].name: image.numpy()})


def tried(key: Row, path: Path) -> Row:
    """Return the row of one file, which is written to a path."""
    began, row = time.process_time(), {**key}
    try:
        image = exported(key["model"], key["exporter"], key["opset"], path)
    except Exception as error:  # whatever the exporter raises
        return {**row, "not_exported": f"{type(error).__name__}: {str(error).strip().splitlines()[0][:160]}"}
    try:
        file = read(path)
        network = network_of(file, image)
        graph = build_graph(network, image)
        before = outputs_of(file, image)
        everything = outputs_of(cut_file(network, graph, Plan.everything(graph)).file, image)
        row["keep_all_same_bytes"] = all(
            a.tobytes() == b.tobytes() for a, b in zip(before, everything, strict=True)
        )
        cut = cut_file(network, graph, random_plan(graph))
        outputs = outputs_of(masked_file(network, graph, cut.plan), image)
        ours = outputs_of(cut.file, image)
    except EdgePruneError as error:
        return {**row, "failed": str(error)[:300]}
    except Exception as error:  # a bug: the row says which
        return {**row, "failed": f"{type(error).__name__}: {str(error)[:300]}"}
    error = max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(ours, outputs, strict=True))
    sizes = [sum(f.array(constant).size for constant in f.constants) for f in (file, cut.file)]
    return {
        **row,
        "classes": graph.classes,
        "kept_channels": float(cut.plan.keep.mean()),
        "kept_numbers": sizes[1] / sizes[0],
        "error": error,
        "protected": {item.reason: item.channels for item in graph.protected},
        "notes": [*cut.plan.notes],
        "cpu_seconds": round(time.process_time() - began, 1),
    }


def parameters_of(name: str) -> int:
    """Return the number of a network's parameters, as torchvision has it of the trained one."""
    return int(get_model_weights(name).DEFAULT.meta["num_params"])


def main() -> None:
    """Try all files that have no row yet, the smallest networks first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--exporters", nargs="+", choices=EXPORTERS, default=[*EXPORTERS])
    parser.add_argument("--opsets", nargs="+", type=int, default=[*OPSETS])
    parser.add_argument("--largest", type=int, default=400, help="millions of parameters")
    parser.add_argument("--out", type=Path, default=Path("results/onnx_torchvision.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    counts = {name: parameters_of(name) for name in args.names or names("torchvision")}
    chosen = [name for name in sorted(counts, key=counts.__getitem__) if counts[name] <= 1e6 * args.largest]
    keys = [
        {"model": name, "exporter": exporter, "opset": opset}
        for exporter in args.exporters
        for name in chosen
        for opset in args.opsets
    ]
    known = dict(versions())
    about = {"versions": {name: known[name] for name in ("torch", "torchvision")}, "kept_channels": 0.6}
    with tempfile.TemporaryDirectory() as place:
        Rows(args.out, about).run(keys, lambda key: tried(key, Path(place) / "net.onnx"))


if __name__ == "__main__":
    main()
