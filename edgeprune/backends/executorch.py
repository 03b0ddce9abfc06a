"""Write ExecuTorch's .pte files for its XNNPACK backend, in float32, or in int8 by torchao's PT2E."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edgeprune.backends.base import Artifact
from edgeprune.backends.jobs import Job
from edgeprune.backends.runner import RunnerBackend, xnnpack_lines

if TYPE_CHECKING:
    import torch

GLUE = ("getitem",)  # takes an output of a part apart


@dataclass(frozen=True)
class ExecuTorch(RunnerBackend):
    """PyTorch's own runtime for phones."""

    name = "executorch"
    title = "ExecuTorch"
    summary = "ExecuTorch's .pte files, in fp32 or int8"
    precisions = ("fp32", "int8")
    extra = "executorch"
    requires = ("executorch",)
    requires_for: ClassVar[Mapping[str, tuple[str, ...]]] = {"int8": ("torchao",)}
    recorded = ("executorch", "torch", "torchao")
    runtime = "executorch"
    converts = "ExecuTorch"

    @property
    def suffix(self) -> str:
        """The end of its files' names."""
        return f".{self.precision}.pte"

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
                images = self.images_for_int8(job)
                program = torch.export.export(_quantised(program, images), example)
                details = {"calibration_images": len(images)}
            lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
            details["xnnpack"] = _delegation(lowered.exported_program().graph_module)
            path.write_bytes(lowered.to_executorch().buffer)
        return details

    def describe(self, artifact: Artifact) -> list[str]:
        """Return a line about what XNNPACK does not take."""
        return xnnpack_lines(artifact)


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
