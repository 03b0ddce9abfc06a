"""Write the same ONNX graph with int8 scales, as Q/DQ nodes, which TensorRT reads from version 8 on.

Symmetric (no zero point), weights per output channel, activations per tensor, at the inputs of operators with
fast int8 kernels, as TensorRT requires (devices.md 5.2). The scales come from real images.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgeprune.backends.base import CALIBRATION_IMAGES, INPUT, Job, pictures
from edgeprune.backends.onnx import FromOnnx, quiet
from edgeprune.errors import ExportError

QUANTISED = [
    "Conv",
    "ConvTranspose",
    "Gemm",
    "MatMul",
]  # operators whose int8 kernels are worth their Q/DQ nodes
OPTIONS = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "AddQDQPairToWeight": True,  # TensorRT 8 reads float weights followed by Q and DQ, not int8 ones
    "QuantizeBias": False,  # it has no int32 biases
    "OpTypesToExcludeOutputQuantization": QUANTISED,  # Q/DQ only at inputs: the following operator may be fused
}


class OnnxInt8(FromOnnx):
    """Eight bits, with the scales in the file; input and output stay float32."""

    name = "onnx-int8"
    title = "int8 ONNX"
    summary = "the same with int8 scales in it, from training images"
    precisions = ("int8",)
    needs: ClassVar[Mapping[str, tuple[str, ...]]] = {"int8": ("onnx",)}
    optional = True  # TensorRT before 11 does without
    extension = ".int8.onnx"

    def convert(self, job: Job, path: Path) -> dict[str, Any]:
        """Write the file; see `export_quantised`."""
        export_quantised(self.source(job), path, pictures(job.calibration, CALIBRATION_IMAGES))
        return {}


def export_quantised(source: Path, path: Path, images: Iterable[np.ndarray]) -> None:
    """Write ``source`` (float32 ONNX) with Q/DQ nodes to ``path``; input and output stay float32.

    Args:
        source: as ``export_model`` writes it.
        path: of the result.
        images: float32 batches (n, C, H, W), normalised, to find the range of every tensor on.

    Raises:
        ExportError: there are no images, or ONNX Runtime cannot quantise the model.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    batches = list(images)
    if not batches:
        raise ExportError("there are no images to calibrate int8 on")
    try:
        with quiet():
            quantize_static(
                str(source),
                str(path),
                _reader(batches),
                quant_format=QuantFormat.QDQ,
                calibrate_method=CalibrationMethod.MinMax,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                op_types_to_quantize=QUANTISED,
                extra_options=OPTIONS,
            )
    except Exception as error:  # ONNX Runtime's own exceptions derive from Exception alone
        path.unlink(missing_ok=True)
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(f"{source.name} cannot be quantised: {reason}") from error


def _reader(batches: list[np.ndarray]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        """Reads each batch once."""

        def __init__(self) -> None:
            self.left = iter(batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.left, None)
            return None if batch is None else {INPUT: batch}

    return Reader()
