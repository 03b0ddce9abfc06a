"""Run ONNX files by ONNX Runtime, and compare them with torch."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprune.backends.base import INPUT, OUTPUT
from edgeprune.backends.flat import Example
from edgeprune.backends.parity import SAME_NUMBERS, Outputs, Parity, parity_of, torch_outputs
from edgeprune.errors import BenchError, ExportError
from edgeprune.tasks import Task

if TYPE_CHECKING:
    from torch import nn


def measure_parity(
    model: "nn.Module", path: Path, batches: Iterable[tuple[Any, Any]], task: Task | None = None
) -> Parity:
    """Run the torch model and the ONNX file on the images of ``batches``, labels unused.

    The first image is also run by itself, to detect a fixed batch axis.

    Args:
        model: in eval mode, on the CPU.
        path: of the ONNX file.
        batches: (float32 (N, C, H, W), targets) pairs, at least one.
        task: says what is compared, and when two outputs agree; classification by default.

    Raises:
        ExportError: ONNX Runtime cannot load or run the file.
    """
    images = [batch for batch, _ in batches]
    if not images:
        raise ExportError("there are no images to compare the exported model on")
    images.insert(0, images[0][:1])
    expected = np.concatenate(list(torch_outputs(model, images, task)))
    got = np.concatenate(list(run_onnx(path, images)))
    parity = parity_of(expected[1:], got[1:], task)
    alone = parity_of(expected[:1], got[:1], task)
    return parity if SAME_NUMBERS.allows(alone) else alone


def check_parity(parity: Parity, name: str) -> None:
    """Raise ExportError, with the figures, unless both models compute the same.

    Args:
        parity: of the ONNX file and torch.
        name: of the model.
    """
    if not parity.finite:
        raise ExportError(
            f"the exported {name} model disagrees with torch on {parity.images} images: logits are not all "
            "numbers, by one or both; nothing was kept, look for NaN in its weights"
        )
    if not SAME_NUMBERS.allows(parity):
        raise ExportError(
            f"the exported {name} model disagrees with torch on {parity.images} images: "
            f"agreement {100 * parity.top1_agreement:.2f} %, largest difference "
            f"{parity.max_abs_diff:.3g} ({parity.max_rel_diff:.3g} of the logits, "
            f"{SAME_NUMBERS.max_rel_diff:g} allowed); nothing was kept, try another opset"
        )


def run_onnx(path: Path, images: Iterable[Any]) -> Iterator[np.ndarray]:
    """Yield the logits of an ONNX file for each batch, by ONNX Runtime.

    Raises:
        ExportError: it cannot load or run the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        if is_quantised(path):
            # The file is checked, not the machine: without VNNI fused integer kernels saturate at 16 bits.
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        every = [output.name for output in session.get_outputs()]
        names = [OUTPUT] if OUTPUT in every else every
        for batch in images:
            yield joined(dict(zip(names, session.run(names, {INPUT: np.asarray(batch)}), strict=True)))
    except Exception as error:  # ONNX Runtime's own exceptions derive from Exception alone
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(f"ONNX Runtime cannot run {path.name}: {reason}") from error


def joined(outputs: Outputs) -> np.ndarray:
    """Return what of a file's outputs is compared: the logits, or several side by side, as a task's `outputs_of`."""
    if OUTPUT in outputs:
        return outputs[OUTPUT]
    arrays = list(outputs.values())
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, -1)


def run_named(path: Path, examples: Iterable[tuple[Any, ...]]) -> Iterator[Outputs]:
    """Yield the outputs of an ONNX file by name for forward's arguments, by ONNX Runtime.

    Raises:
        ExportError: it cannot load or run the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_outputs()]
        inputs = [value.name for value in session.get_inputs()]
        for arguments in examples:
            arrays = [np.asarray(tensor) for tensor in Example(arguments).tensors]
            values = session.run(names, dict(zip(inputs, arrays, strict=True)))
            yield dict(zip(names, map(np.asarray, values), strict=True))
    except Exception as error:  # ONNX Runtime's own exceptions derive from Exception alone
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(f"ONNX Runtime cannot run {path.name}: {reason}") from error


def is_quantised(path: Path) -> bool:
    """Return whether an ONNX file holds quantised numbers."""
    import onnx

    nodes = onnx.load(str(path), load_external_data=False).graph.node
    return any(node.op_type == "QuantizeLinear" for node in nodes)


def check_self_contained(path: Path) -> None:
    """Raise BenchError where an ONNX file keeps weights in other files: any file of this machine.

    A file that is not ONNX is left to the runtime.
    """
    import onnx
    from onnx.external_data_helper import uses_external_data

    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception:  # protobuf's own
        return
    if any(uses_external_data(tensor) for tensor in _tensors(model.graph)):
        raise BenchError(
            f"{path} keeps weights in other files, which edgeprune never writes: export the run again"
        )


def _tensors(graph: Any) -> Iterator[Any]:
    """Yield all constants of a graph, including those of its branches."""
    yield from graph.initializer
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        yield from [attribute.t, *attribute.tensors]
        for branch in [attribute.g, *attribute.graphs]:
            if branch.node or branch.initializer:
                yield from _tensors(branch)
