"""ONNX in float32, and the base of the backends whose files ONNX Runtime runs."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgeprune.backends.base import Backend
from edgeprune.backends.jobs import Job
from edgeprune.backends.onnx_export import DEFAULT_OPSET, export_model
from edgeprune.backends.onnx_running import (
    check_parity,
    check_self_contained,
    measure_parity,
    run_named,
    run_onnx,
)
from edgeprune.backends.parity import SAME_NUMBERS, Parity, Tolerance, named_arrays, parity_over


class OnnxFileBackend(Backend):
    """Base of all backends whose files ONNX Runtime runs."""

    requires: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime")
    runtime = "onnxruntime"
    times_layers = True
    also_run_by = ("onnxruntime-web", "onnxruntime-webgpu")  # in a browser, by WebAssembly and by WebGPU

    def outputs(self, path: Path, images: Iterable[Any]) -> Iterator[np.ndarray]:
        """Yield the file's logits by ONNX Runtime."""
        return run_onnx(path, images)

    def check_file(self, path: Path) -> None:
        """Raise BenchError for a file that keeps weights in other files: any file of this machine."""
        check_self_contained(path)


@dataclass(frozen=True)
class Onnx(OnnxFileBackend):
    """Float32, as every other ONNX file and every engine is made from it.

    Attributes:
        opset: of ONNX; None for `DEFAULT_OPSET`.
    """

    name = "onnx"
    title = "ONNX"
    summary = "ONNX in float32, for ONNX Runtime and as the source of others"
    recorded = ("torch", "onnx", "onnxscript", "onnxruntime")
    tolerances: ClassVar[Mapping[str, Tolerance]] = {"fp32": SAME_NUMBERS}

    opset: int | None = None

    def options(self) -> dict[str, Any]:
        """Return the opset as it is written."""
        return {"opset": DEFAULT_OPSET if self.opset is None else self.opset}

    def convert(self, job: Job, path: Path) -> dict[str, Any]:
        """Write the file; see `export_model`."""
        traced = job.example or job.shape
        file = export_model(
            job.model, traced, path, opset=self.opset, outputs=job.task.output_names, metadata=job.metadata
        )
        details = {"exporter": file.exporter, "opset": file.opset, "ir_version": file.ir_version}
        if job.example is None:
            return details
        return {**details, "inputs": list(file.inputs), "outputs": list(file.outputs), "batch": file.batch}

    def compare(self, job: Job, path: Path) -> Parity:
        """Compare with torch."""
        if job.example is not None:
            arguments = [batch for batch, _ in job.images()]
            return parity_over(named_arrays(job.model, arguments), run_named(path, arguments))
        return measure_parity(job.model, path, job.images(), job.task)

    def check(self, parity: Parity, name: str) -> None:
        """Raise ExportError, with the figures, unless both compute the same."""
        check_parity(parity, name.removesuffix(self.suffix))


class FromOnnx(OnnxFileBackend):
    """Makes a file from the float32 ONNX file, and compares it with that one."""

    compared_with = "ONNX Runtime"

    def source(self, job: Job) -> Path:
        """Return the float32 ONNX file of the job's model."""
        return job.folder / Onnx().file_name(job.name)

    def expected(self, job: Job, images: Iterable[Any]) -> Iterator[np.ndarray]:
        """Yield the logits of the float32 ONNX file."""
        return run_onnx(self.source(job), images)
