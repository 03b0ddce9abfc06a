"""Write the same ONNX graph with int8 scales, as Q/DQ nodes, which TensorRT reads from version 8 on.

Symmetric (no zero point), weights per output channel, activations per tensor, at the inputs of operators with
fast int8 kernels, as TensorRT requires (devices.md 5.2). The scales come from real images.
"""

from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgeprune.backends.base import INPUT
from edgeprune.backends.jobs import CALIBRATION_IMAGES, Job, calibration_batches
from edgeprune.backends.onnx import FromOnnx
from edgeprune.backends.onnx_export import quiet
from edgeprune.backends.ranges import LEVELS, ranges_of
from edgeprune.errors import ExportError, known

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


METHODS = ("minmax", "percentile", "entropy", "mse")


@dataclass(frozen=True)
class OnnxInt8(FromOnnx):
    """Eight bits, with the scales in the file; input and output stay float32.

    Attributes:
        calibration_images: training images that ranges are found on.
        calibrate: how: of all values, of all but a few, where the least information is lost, or the least square error.

    Raises:
        ExportError: there is no such way.
    """

    name = "onnx-int8"
    title = "int8 ONNX"
    summary = "the same with int8 scales in it, from training images"
    precisions = ("int8",)
    needs: ClassVar[Mapping[str, tuple[str, ...]]] = {"int8": ("onnx",)}
    optional = True  # TensorRT before 11 does without
    extension = ".int8.onnx"

    calibration_images: int = CALIBRATION_IMAGES
    calibrate: str = METHODS[0]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.calibrate not in METHODS:
            raise ExportError(f"`calibrate`: {known('way', self.calibrate, list(METHODS))}")

    def convert(self, job: Job, path: Path) -> dict[str, Any]:
        """Write the file; see `export_quantised`."""
        images = calibration_batches(job.calibration, self.calibration_images)
        export_quantised(self.source(job), path, images, method=self.calibrate)
        return {}


def export_quantised(
    source: Path, path: Path, images: Iterable[np.ndarray], *, method: str = METHODS[0]
) -> None:
    """Write ``source`` (float32 ONNX) with Q/DQ nodes to ``path``; input and output stay float32.

    Args:
        source: as ``export_model`` writes it.
        path: of the result.
        images: float32 batches (n, C, H, W), normalised, to find the range of every tensor on.
        method: of `METHODS`: how a range follows from a tensor's values.

    Raises:
        ExportError: there are no images, or ONNX Runtime cannot quantise the model.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    batches = list(images)
    if not batches:
        raise ExportError("there are no images to calibrate int8 on")
    by_runtime = {"percentile": CalibrationMethod.Percentile, "entropy": CalibrationMethod.Entropy}
    try:
        with quiet(), redirect_stdout(StringIO()):  # ONNX Runtime prints the tensors it looks at
            overrides = _least_error(source, batches) if method == "mse" else {}
            quantize_static(
                str(source),
                str(path),
                _reader(batches),
                quant_format=QuantFormat.QDQ,
                calibrate_method=by_runtime.get(method, CalibrationMethod.MinMax),
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                op_types_to_quantize=QUANTISED,
                extra_options={**OPTIONS, "TensorQuantOverrides": overrides},
            )
    except Exception as error:  # ONNX Runtime's own exceptions derive from Exception alone
        path.unlink(missing_ok=True)
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(f"{source.name} cannot be quantised: {reason}") from error


def _least_error(source: Path, batches: list[np.ndarray]) -> dict[str, list[dict[str, np.ndarray]]]:
    """Return, for the input of each quantised operator, the scale whose int8 has the least mean square error.

    Args:
        source: of the float32 network.
        batches: of images.
    """
    import onnx
    from onnxruntime import InferenceSession, SessionOptions

    model = onnx.load(str(source))
    stored = {tensor.name for tensor in model.graph.initializer}
    reads = {name for node in model.graph.node if node.op_type in QUANTISED for name in node.input[:2]}
    names = sorted(reads - stored - {INPUT})
    made = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in made)
    options = SessionOptions()
    options.log_severity_level = 4
    session = InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    ranges = ranges_of(
        {INPUT: batch, **dict(zip(names, session.run(names, {INPUT: batch}) if names else [], strict=True))}
        for batch in batches
    )
    zero = np.array(0, np.int8)
    return {
        name: [{"scale": np.array(limit / LEVELS, np.float32), "zero_point": zero}]
        for name, limit in ranges.items()
        if limit > 0 and name in reads
    }


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
