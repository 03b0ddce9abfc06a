"""Write the files of a run and their record, so that `bench` and `verify` know them as those of every run."""

import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from edgeprune.backends.base import Artifact, package_version
from edgeprune.backends.parity import Parity
from edgeprune.backends.record import FILE, ExportRecord
from edgeprune.bench.copies import stored_bytes
from edgeprune.files.reading import sha256
from edgeprune.files.writing import write_json
from edgeprune.onnx_graph.files import OnnxFile, write
from edgeprune.runs.file_runs import FileRun

PACKAGES = ("edgeprune", "torch", "onnx", "onnxruntime", "numpy")


def versions() -> dict[str, str]:
    """Return the versions of the packages that a result depends on."""
    known = {name: package_version(name) for name in PACKAGES}
    return {**{name: text for name, text in known.items() if text}, "python": platform.python_version()}


def write_export(run: FileRun, original: OnnxFile, pruned: OnnxFile, parities: Mapping[str, Parity]) -> None:
    """Write the smaller file beside the original, and the record of both.

    Args:
        run: with the original in its export folder.
        original: as ONNX.
        pruned: the smaller one.
        parities: of both with torch, by name.
    """
    write(OnnxFile(pruned.model, pruned.name), run.pruned)
    artifacts = tuple(
        _artifact(run, name, file, parities[name])
        for name, file in (("baseline", original), ("pruned", pruned))
    )
    record = ExportRecord(
        artifacts=artifacts,
        versions=versions(),
        settings={"opset": original.opset, "images": 0},
        input=_described(original.inputs[0]),
        output=_described(original.model.graph.output[0]),
    )
    write_json(run.export / FILE, record.to_dict())


def _artifact(run: FileRun, name: str, file: OnnxFile, parity: Parity) -> Artifact:
    path = run.export / f"{name}.onnx"
    arrays = [file.array(constant) for constant in file.constants]
    return Artifact(
        backend="onnx",
        precision="fp32",
        model=name,
        file=path.name,
        sha256=sha256(path),
        size_bytes=stored_bytes(path),
        params=sum(array.size for array in arrays if np.issubdtype(array.dtype, np.floating)),
        versions={package: package_version(package) for package in ("onnx", "onnxruntime")},
        options={"opset": file.opset},
        details={"ir_version": file.model.ir_version, "inputs": [value.name for value in file.inputs]},
        parity=parity,
    )


def _described(value: onnx.ValueInfoProto) -> dict[str, Any]:
    kind = value.type.tensor_type
    dims = [dim.dim_value or dim.dim_param or None for dim in kind.shape.dim]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    return {"name": value.name, "dtype": dtype, "shape": dims}
