"""Write ExecuTorch's .pte files for its XNNPACK backend, in float32, or in int8 by torchao's PT2E."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edgeprune.backends.base import CALIBRATION_IMAGES, Artifact, Job, pictures
from edgeprune.backends.parity import SAME_NUMBERS, Tolerance
from edgeprune.backends.runner import RunnerBackend
from edgeprune.errors import ExportError

if TYPE_CHECKING:
    import torch

TOLERANCES = {**RunnerBackend.tolerances, "fp32": SAME_NUMBERS}
GLUE = ("getitem",)  # takes an output of a part apart


@dataclass(frozen=True)
class ExecuTorch(RunnerBackend):
    """PyTorch's own runtime for phones.

    Attributes:
        calibration_images: training images that int8 finds its ranges on.
    """

    name = "executorch"
    title = "ExecuTorch"
    summary = "ExecuTorch's .pte files, in fp32 or int8"
    precisions = ("fp32", "int8")
    extra = "executorch"
    requires = ("executorch",)
    requires_for: ClassVar[Mapping[str, tuple[str, ...]]] = {"int8": ("torchao",)}
    recorded = ("executorch", "torch", "torchao")
    tolerances: ClassVar[Mapping[str, Tolerance]] = TOLERANCES
    runtime = "executorch"
    converts = "ExecuTorch"

    calibration_images: int = CALIBRATION_IMAGES

    @property
    def suffix(self) -> str:
        """The end of its files' names."""
        return f".{self.precision}.pte"

    def options(self) -> dict[str, Any]:
        """Return the options that its precision has."""
        return super().options() if self.precision == "int8" else {}

    def convert(self, job: Job, path: Path) -> dict[str, Any]:
        """Write the file."""
        with self.converting(job):
            import torch
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import to_edge_transform_and_lower

            example = (torch.zeros(1, *job.shape),)
            program = torch.export.export(job.model, example)
            details: dict[str, Any] = {}
            if self.precision == "int8":
                images = self._images(job)
                program = torch.export.export(_quantised(program, images), example)
                details = {"calibration_images": len(images)}
            lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
            details["xnnpack"] = _delegation(lowered.exported_program().graph_module)
            path.write_bytes(lowered.to_executorch().buffer)
        return details

    def describe(self, artifact: Artifact) -> list[str]:
        """Return a line about the work that XNNPACK does not take."""
        about = artifact.details.get("xnnpack")
        if not about or not artifact.file:
            return []
        line = f"{artifact.file}: XNNPACK takes {about['delegated']} of {about['ops']} operations"
        left = ", ".join(f"{number} {op}" for op, number in about["left"].items())
        return [line + (f", in {about['partitions']} parts; not: {left}" if left else "")]

    def _images(self, job: Job) -> np.ndarray:
        images = list(pictures(job.calibration, self.calibration_images))
        if not images:
            raise ExportError("there are no images to calibrate int8 on")
        return np.concatenate(images)[: self.calibration_images]


def _quantised(program: "torch.export.ExportedProgram", images: np.ndarray) -> Any:
    """Return a network with quantisers in it: weights by output channel, activations by tensor."""
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(program.module(), quantizer)
    with torch.no_grad():
        for image in images:
            prepared(torch.from_numpy(image[None]))
    return convert_pt2e(prepared)


def _delegation(graph_module: Any) -> dict[str, Any]:
    """Return how many operations XNNPACK took, in how many parts, and which not."""
    from executorch.devtools.backend_debug import get_delegation_info

    info = get_delegation_info(graph_module)
    left = {
        name.removeprefix("aten_").removesuffix("_default"): counts.non_delegated
        for name, counts in info.delegation_by_operator.items()
        if counts.non_delegated and name not in GLUE
    }
    taken = info.num_delegated_nodes
    return {
        "ops": taken + sum(left.values()),
        "delegated": taken,
        "partitions": info.num_delegated_subgraphs,
        "left": left,
    }
