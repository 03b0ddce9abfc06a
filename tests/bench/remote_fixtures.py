"""A run that can be measured with ONNX Runtime, and the board behind the loopback."""

from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch import nn

from edgeprune.backends import MODELS, Artifact, Backend, ExportRecord, export_run
from edgeprune.data import load_data
from edgeprune.files.reading import sha256
from edgeprune.files.writing import write_json
from edgeprune.records.runs import Summary
from edgeprune.runs.run import Run


def linear_onnx(path: Path, *, layers: int, seed: int = 0) -> Path:
    """An ONNX file for digits as images: 3x32x32 to 10 logits, through some layers of 64."""
    from onnx import TensorProto, checker, helper, numpy_helper, save

    random = np.random.default_rng(seed)
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 32, 32])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])
    sizes = [3 * 32 * 32, *[64] * layers, 10]
    nodes, weights, last = [helper.make_node("Flatten", ["input"], ["flat"])], [], "flat"
    for index, (rows, columns) in enumerate(zip(sizes, sizes[1:], strict=False)):
        name = "logits" if index == layers else f"hidden{index}"
        values = (random.standard_normal((rows, columns)) / rows**0.5).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"weight{index}"))
        nodes.append(helper.make_node("MatMul", [last, f"weight{index}"], [name]))
        last = name
    graph = helper.make_graph(nodes, "linear", [image], [logits], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(model, path)
    return path


def digits_run(path: Path) -> Path:
    """A run folder as `train-prune` and `export` leave it, as far as `bench` looks at it."""
    run = Run.create(path, {"options": {}, "data_spec": load_data("digits").spec()})
    model = {"accuracy": 0.9, "test_images": 100, "params": 10, "flops": 10, "size_bytes": 40}
    outcome = {"kind": "flops", "asked": "flops=0.5", "fraction": 0.5, "got_fraction": 0.5}
    shares = {"params_fraction": 0.5, "flops_fraction": 0.5, "accuracy_drop": 0.0}
    models = {"baseline": model, "settled": model, "pruned": model}
    run.finish(Summary.from_dict({"schema": 1, "target": outcome, **shares, "models": models, "notes": []}))
    for name, layers in (("baseline", 3), ("pruned", 1)):
        linear_onnx(path / "export" / f"{name}.onnx", layers=layers)
    record_onnx(path / "export")
    return path


def record_onnx(folder: Path) -> Path:
    """Write the record of ONNX files that were laid into an export folder."""
    names = [name for name in MODELS if (folder / f"{name}.onnx").is_file()]
    files = {name: folder / f"{name}.onnx" for name in names}
    artifacts = tuple(
        Artifact("onnx", "fp32", name, file.name, sha256(file), file.stat().st_size, params=1)
        for name, file in files.items()
    )
    write_json(folder / "export.json", ExportRecord(artifacts=artifacts).to_dict())
    return folder


def exported_digits(path: Path, *backends: str | Backend) -> Path:
    """A run folder of two untrained networks on digits, exported with these backends."""
    run = digits_run(path)
    torch.manual_seed(0)
    models = {"baseline": _small_network(8).eval(), "pruned": _small_network(4).eval()}
    with patch.object(Run, "load", lambda _run, name: models[name]):
        export_run(run, to=backends, images=32)
    return run


def _small_network(width: int) -> nn.Module:
    """A convolution, a depthwise one, and a classifier of what is left of the picture."""
    return nn.Sequential(
        *(nn.Conv2d(3, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU6()),
        *(nn.Conv2d(width, width, 3, padding=1, groups=width), nn.Hardswish(), nn.AvgPool2d(4)),
        *(nn.Flatten(), nn.Linear(width * 16, 10)),
    )
