"""Check a file: by onnx, and by ONNX Runtime against torch."""

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from edgeprune.backends.parity import Parity, parity_over
from edgeprune.errors import ExportError, one_line
from edgeprune.onnx_graph.files import OnnxFile

CLOSE = 1e-3  # of the largest output: ONNX Runtime and torch round differently
CLOSE_HALF = 5e-2


def parity_with_torch(file: OnnxFile, network: nn.Module, example: tuple[Tensor, ...]) -> Parity:
    """Check a file with onnx, and compare what ONNX Runtime makes of it with what torch does.

    Args:
        file: to be checked.
        network: the same network in torch.
        example: inputs.

    Raises:
        ExportError: the file is not valid, does not run, or gives something else.
    """
    import onnxruntime as ort

    model = file.model
    names = [value.name for value in model.graph.output]
    try:
        onnx.checker.check_model(model)
        options = ort.SessionOptions()
        options.log_severity_level = 4
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        types = {"tensor(float16)": np.float16, "tensor(double)": np.float64}
        feed = {
            value.name: tensor.numpy().astype(types.get(value.type, tensor.numpy().dtype))
            for value, tensor in zip(session.get_inputs(), example, strict=True)
        }
        results = dict(zip(names, map(np.asarray, session.run(None, feed)), strict=True))
    except Exception as error:
        raise ExportError(
            f"the pruned file is not one that ONNX Runtime runs ({one_line(error)[:120]}): please report the network"
        ) from error
    with torch.no_grad():
        outputs = network(*example)
    expected = dict(zip(names, outputs if isinstance(outputs, tuple) else (outputs,), strict=True))
    half = any(array.dtype == np.float16 for array in results.values())
    parity = parity_over(
        [{name: tensor.numpy() for name, tensor in expected.items()}],
        [{name: _as(array, expected[name]) for name, array in results.items()}],
    )
    if not parity.max_rel_diff <= (CLOSE_HALF if half else CLOSE):
        raise ExportError(
            "the pruned file gives something else in ONNX Runtime than in torch: please report the network"
        )
    return parity


def _as(array: np.ndarray, tensor: Tensor) -> np.ndarray:
    return array.astype(tensor.numpy().dtype)
