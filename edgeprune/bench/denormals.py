"""Count the weights of an ONNX file that are too small for a full mantissa: processors multiply them slowly.

Weight decay leaves them in channels that training gave up. In a text detector of rapidocr two convolutions with 255,000
of them took 22 of 35 ms; set to 0, they took 1.
"""

from pathlib import Path

import msgspec
import numpy as np

from edgeprune.records.bench import BenchResult


def denormal_weights(path: Path) -> int | None:
    """Return how many float32 weights of an ONNX file are denormal; None for a file of another kind."""
    if path.suffix != ".onnx":
        return None
    import onnx
    from onnx import numpy_helper

    try:
        graph = onnx.load(str(path)).graph
    except Exception:  # the runtime says what is wrong with the file, and onnx has no exception of its own
        return None
    smallest = np.finfo(np.float32).tiny
    count = 0
    for tensor in graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            sizes = np.abs(numpy_helper.to_array(tensor))
            count += int(np.count_nonzero((sizes > 0) & (sizes < smallest)))
    return count


def with_denormals(result: BenchResult) -> BenchResult:
    """Return a result that has each model's number of denormal weights, where its file tells."""
    counts = {name: denormal_weights(Path(model.file)) for name, model in result.models.items()}
    models = {
        name: model
        if (count := counts[name]) is None
        else msgspec.structs.replace(model, denormal_weights=count)
        for name, model in result.models.items()
    }
    return msgspec.structs.replace(result, models=models)
