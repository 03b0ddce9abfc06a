"""Write LiteRT's .tflite files by litert-torch, in float32, or in int8 by Google's ai-edge-quantizer.

Input and output are float32 and keep torch's order of axes (N, C, H, W), in int8 files too. The batch is 1, as
on phones: XNNPACK takes no free axes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgeprune.backends.base import CALIBRATION_IMAGES, Artifact, Job, pictures
from edgeprune.backends.parity import SAME_NUMBERS, Parity, Tolerance
from edgeprune.backends.runner import RunnerBackend
from edgeprune.errors import ExportError

TOLERANCES = {**RunnerBackend.tolerances, "fp32": SAME_NUMBERS}
SIGNATURE, INPUT = "serving_default", "args_0"


@dataclass(frozen=True)
class LiteRt(RunnerBackend):
    """Google's runtime for phones, once TensorFlow Lite.

    Attributes:
        calibration_images: training images that int8 finds its ranges on.
    """

    name = "litert"
    title = "LiteRT"
    summary = "LiteRT's .tflite files, in fp32 or int8"
    precisions = ("fp32", "int8")
    extra = "litert"
    requires = ("litert_torch", "ai_edge_litert")
    requires_for: ClassVar[Mapping[str, tuple[str, ...]]] = {"int8": ("ai_edge_quantizer",)}
    tolerances: ClassVar[Mapping[str, Tolerance]] = TOLERANCES
    runtime = "litert"
    target_package = "ai-edge-litert"
    converts = "litert-torch"

    calibration_images: int = CALIBRATION_IMAGES

    @property
    def suffix(self) -> str:
        """The end of its files' names."""
        return f".{self.precision}.tflite"

    def options(self) -> dict[str, Any]:
        """Return the options that its precision has."""
        return super().options() if self.precision == "int8" else {}

    def convert(self, job: Job, path: Path) -> dict[str, Any]:
        """Write the file."""
        with self.converting(job):
            import litert_torch
            import torch

            litert_torch.convert(job.model, (torch.zeros(1, *job.shape),)).export(str(path))
        if self.precision == "fp32":
            return {}
        images = list(pictures(job.calibration, self.calibration_images))
        if not images:
            raise ExportError("there are no images to calibrate int8 on")
        chosen = np.concatenate(images)[: self.calibration_images]
        with self.converting(job):
            path.write_bytes(_quantised(path, chosen))
        return {"calibration_images": len(chosen)}

    def keep(self, path: Path, details: Mapping[str, Any], parity: Parity | None) -> dict[str, Any]:  # noqa: ARG002
        """Add what XNNPACK takes of it.

        Args:
            path: of the file.
            details: as `convert` returned them.
            parity: with the reference.
        """
        from edgeprune_target.runtimes import make_runtime

        with make_runtime(self.runtime, str(path), 1) as loaded:
            return {**details, "xnnpack": loaded.delegation()}  # type: ignore[attr-defined]

    def describe(self, artifact: Artifact) -> list[str]:
        """Return a line about what XNNPACK does not take, which runs on slow kernels."""
        about = artifact.details.get("xnnpack")
        if not about or not artifact.file:
            return []
        left = ", ".join(f"{number} {op}" for op, number in about["left"].items())
        line = f"{artifact.file}: XNNPACK takes {about['delegated']} of {about['ops']} operations"
        parts = f", in {about['partitions']} parts; not: {left}" if left else ""
        return [line + parts]


def _quantised(path: Path, images: np.ndarray) -> bytes:
    """Return a .tflite file in int8, its input and output in float32."""
    from ai_edge_quantizer import quantizer, recipe

    made = quantizer.Quantizer(str(path), recipe.static_wi8_ai8())
    for end in (quantizer.qtyping.TFLOperationName.INPUT, quantizer.qtyping.TFLOperationName.OUTPUT):
        made.update_quantization_recipe(
            regex=".*",
            operation_name=end,
            algorithm_key=quantizer.algorithm_manager.AlgorithmName.NO_QUANTIZE,
        )
    data = [{INPUT: image[None]} for image in images]
    return bytes(made.quantize(made.calibrate({SIGNATURE: data}, num_threads=1)).quantized_model)
