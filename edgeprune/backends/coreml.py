"""Write Core ML's .mlpackage files by coremltools, in fp16, which Apple's processors compute in, or in float32.

An .mlpackage is a folder; it goes into a .zip, which a Mac unpacks to what Xcode takes. Core ML runs on Apple's systems
alone: elsewhere the file is not compared with torch, and its inputs, outputs and operations are read back instead.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from edgeprune_target.packed import pack
from edgeprune_target.scratch import scratch_folder

from edgeprune.backends.base import INPUT, OUTPUT, Artifact
from edgeprune.backends.jobs import Job
from edgeprune.backends.parity import Parity
from edgeprune.backends.runner import RunnerBackend
from edgeprune.errors import ExportError

if TYPE_CHECKING:
    import torch

TARGET = "iOS16"  # and macOS 13: the oldest that takes what is written here
ON_APPLE_ALONE = "Core ML runs on Apple's systems alone"


@dataclass(frozen=True)
class CoreMl(RunnerBackend):
    """Apple's runtime for iPhones, iPads and Macs."""

    name = "coreml"
    title = "Core ML"
    summary = "Core ML's .mlpackage files, in fp16 or fp32"
    precisions = ("fp16", "fp32")
    extra = "coreml"
    requires = ("coremltools",)
    recorded = ("coremltools", "torch")
    runtime = "coreml"
    converts = "coremltools"
    why_not_measured: ClassVar[str] = (
        f"{ON_APPLE_ALONE}: open the .mlpackage in Xcode, and let its Performance tab make a report on the device"
    )

    @property
    def suffix(self) -> str:
        """The end of its files' names."""
        return f".{self.precision}.mlpackage.zip"

    def convert(self, job: Job, path: Path) -> dict[str, Any]:
        """Write the file, read it back, and return what is in it."""
        with self.converting(job), scratch_folder() as folder:
            import coremltools

            package = Path(folder) / path.name.removesuffix(".zip")
            numbers = coremltools.precision
            coremltools.convert(
                _traced(job),
                inputs=[coremltools.TensorType(name=INPUT, shape=(1, *job.shape), dtype=np.float32)],
                outputs=[coremltools.TensorType(name=OUTPUT, dtype=np.float32)],
                minimum_deployment_target=getattr(coremltools.target, TARGET),
                compute_precision=numbers.FLOAT16 if self.precision == "fp16" else numbers.FLOAT32,
            ).save(str(package))
            structure = _structure(coremltools.utils.load_spec(str(package)))
            _check(structure, job)
            files = sorted(file for file in package.rglob("*") if file.is_file())
            pack(str(path), {str(file.relative_to(folder)): file.read_bytes() for file in files})
        return {**structure, "minimum_deployment_target": TARGET, "not_compared_because": ON_APPLE_ALONE}

    def compare(self, job: Job, path: Path) -> Parity | None:  # noqa: ARG002
        """Return None: nothing runs it here."""
        return None

    def describe(self, artifact: Artifact) -> list[str]:
        """Return a line about what was read back, and that it was not compared."""
        if artifact.size_bytes is None:
            return []
        operations = sum(artifact.details["operations"].values())
        return [
            f"{artifact.file}: {operations} operations; {ON_APPLE_ALONE}, so it was not compared with torch; its "
            "inputs, outputs and operations were read back"
        ]


def _traced(job: Job) -> "torch.jit.ScriptModule":
    """Return a model as torch's tracer sees it, from which coremltools converts."""
    import torch

    with torch.no_grad():
        traced: torch.jit.ScriptModule = torch.jit.trace(
            job.model, torch.zeros(1, *job.shape), check_trace=False
        )
    return traced


def _structure(spec: Any) -> dict[str, Any]:
    """Return the inputs and outputs with their shapes, and how many operations of each kind there are but constants."""
    counts: Counter[str] = Counter()
    for function in spec.mlProgram.functions.values():
        for block in function.block_specializations.values():
            counts.update(operation.type for operation in block.operations if operation.type != "const")
    return {
        "inputs": {item.name: list(item.type.multiArrayType.shape) for item in spec.description.input},
        "outputs": {item.name: list(item.type.multiArrayType.shape) for item in spec.description.output},
        "operations": dict(sorted(counts.items())),
    }


def _check(structure: dict[str, Any], job: Job) -> None:
    """Raise ExportError unless the file takes an image of the model, gives one output, and computes something."""
    shapes = {INPUT: [1, *job.shape]}
    if structure["inputs"] != shapes or list(structure["outputs"]) != [OUTPUT] or not structure["operations"]:
        raise ExportError(
            f"coremltools wrote another network than the {job.name} model: inputs {structure['inputs']}, outputs "
            f"{structure['outputs']}"
        )
