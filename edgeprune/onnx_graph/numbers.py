"""Numbers that follow from sizes and constants alone, and what onnx itself can tell of a graph."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import shape_inference
from onnx.reference import ReferenceEvaluator

from edgeprune.errors import ModelError, one_line
from edgeprune.onnx_graph.files import STANDARD, OnnxFile
from edgeprune.onnx_graph.operands import attributes_of

SIZES = {"Shape", "Size"}


def sizes_of(node: onnx.NodeProto, lookup: Callable[[str], Any]) -> list[NDArray[Any]] | None:
    """Return what Shape and Size give; None for another node.

    Args:
        node: the node.
        lookup: gives the value of a name, or anything of the same shape.
    """
    if node.op_type not in SIZES or node.domain not in STANDARD:
        return None
    shape = np.array([int(size) for size in lookup(node.input[0]).shape], dtype=np.int64)
    if node.op_type == "Size":
        return [np.array(shape.prod(), dtype=np.int64)]
    attributes = attributes_of(node)
    return [shape[attributes.get("start", 0) : attributes.get("end")]]


def evaluated(
    node: onnx.NodeProto,
    values: dict[str, NDArray[Any]],
    file: OnnxFile,
    evaluators: dict[str, ReferenceEvaluator],
) -> list[NDArray[Any]]:
    """Return what a node gives of plain numbers.

    Args:
        node: the node.
        values: its inputs by name.
        file: the file that it is of.
        evaluators: made before, by the node's first result.
    """
    if node.op_type in ("Identity",):
        return [next(iter(values.values()))]
    key = node.output[0]
    if key not in evaluators:
        inputs = [onnx.ValueInfoProto(name=name) for name in dict.fromkeys(n for n in node.input if n)]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        graph = onnx.helper.make_graph([node], "numbers", inputs, outputs)
        model = onnx.helper.make_model(graph, opset_imports=file.model.opset_import)
        model.ir_version = file.model.ir_version
        evaluators[key] = ReferenceEvaluator(model)
    try:
        return [np.asarray(result) for result in evaluators[key].run(None, dict(values))]
    except Exception as error:
        raise ModelError(
            f"{file.name}: {node.op_type} {node.name!r} cannot be computed from sizes and constants "
            f"({one_line(error)[:90]})"
        ) from error


class ElementTypes:
    """The element type of each value, as far as onnx can infer it; inferred when one is first asked for."""

    def __init__(self, file: OnnxFile) -> None:
        self._file = file
        self._types: dict[str, int] | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "ElementTypes":
        return self

    def get(self, name: str) -> int | None:
        """Return the type of a value as `onnx.TensorProto` numbers them; None where it is not known."""
        if self._types is None:
            self._types = _element_types(self._file)
        return self._types.get(name)


def _element_types(file: OnnxFile) -> dict[str, int]:
    model = file.model
    if model.ByteSize() < 2**31 - 1:
        try:
            model = shape_inference.infer_shapes(model)
        except Exception:  # a file that ONNX Runtime takes may be more than onnx can infer
            model = file.model
    graph = model.graph
    values = [*graph.input, *graph.output, *graph.value_info]
    return {v.name: v.type.tensor_type.elem_type for v in values if v.type.tensor_type.elem_type}
