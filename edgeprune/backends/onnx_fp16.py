"""Write the same ONNX graph in fp16: TensorRT from 11 on takes every type from the file.

The operators' schemas say where fp16 is allowed; where it is not (the scales of Resize, Range), the tensor
stays float32 between Casts. Input and output stay float32, so that callers see no difference.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edgeprune.backends.jobs import Job
from edgeprune.backends.onnx import FromOnnx
from edgeprune.errors import ExportError
from edgeprune.files.writing import write_bytes

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

FLOAT, HALF = 1, 10  # TensorProto.DataType
HALF_NAME = "tensor(float16)"
LARGEST = 65504.0  # of fp16


class OnnxFp16(FromOnnx):
    """Half precision in the file itself; input and output stay float32."""

    name = "onnx-fp16"
    title = "fp16 ONNX"
    summary = "the same in fp16, as TensorRT from 11 on takes it"
    precisions = ("fp16",)
    needs: ClassVar[Mapping[str, tuple[str, ...]]] = {"fp16": ("onnx",)}
    optional = True  # TensorRT before 11 does without
    requires = ("onnx",)
    extension = ".fp16.onnx"

    def convert(self, job: Job, path: Path) -> dict[str, Any]:
        """Write the file; see `export_half`."""
        export_half(self.source(job), path)
        return {}


def export_half(source: Path, path: Path) -> None:
    """Write ``source`` (float32 ONNX) in fp16 to ``path``; input and output stay float32.

    Raises:
        ExportError: it has subgraphs, weights beyond fp16's range, or a tensor of unknown type.
    """
    import onnx

    model = to_half(onnx.load(str(source)))
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # checker and shape inference each raise their own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(f"{source.name} cannot be written in fp16: {reason}") from error
    write_bytes(path, model.SerializeToString(deterministic=True))


def to_half(model: "ModelProto") -> "ModelProto":
    """Convert every float32 tensor to fp16 where its operators accept that; see ``export_half``."""
    from onnx import shape_inference

    if len(model.functions):
        from onnx.inliner import inline_local_functions

        model = inline_local_functions(model)
    result: ModelProto = shape_inference.infer_shapes(model)
    rewriting = _Rewriting(result)
    rewriting.run()
    return result


class _Rewriting:
    """Rewrites one model. ``nodes`` is the resulting graph, in an executable order."""

    def __init__(self, model: "ModelProto") -> None:
        self.graph = model.graph
        self.opsets = {entry.domain: entry.version for entry in model.opset_import}
        self.weights = {entry.name: entry for entry in self.graph.initializer}
        self.floats = _floats(self.graph)
        self.nodes: list[NodeProto] = []
        self.kept: set[str] = set()  # weights that some operator needs in float32
        self.halved: set[str] = set()  # weights that some operator takes in fp16
        self.cast: dict[tuple[str, int], str] = {}

    def run(self) -> None:
        """Replace the graph's nodes and weights."""
        for value in self.graph.input:
            if value.name in self.floats and value.name not in self.weights:
                self.as_type(value.name, HALF, _half_of(value.name))
        outputs = {tensor.name for tensor in self.graph.output if tensor.name in self.floats}
        for node in list(self.graph.node):
            self.add(node, outputs)
        for name in outputs:
            self.nodes.append(_cast(_half_of(name), name, FLOAT))
        weights = [tensor for name in self.weights for tensor in self.typed(self.weights[name])]
        del self.graph.node[:], self.graph.initializer[:], self.graph.value_info[:]
        self.graph.node.extend(self.nodes)
        self.graph.initializer.extend(weights)

    def add(self, node: "NodeProto", outputs: set[str]) -> None:
        """Append ``node``, its inputs and outputs in the types that it takes."""
        schema = self.schema_of(node)
        for index, name in enumerate(node.input):
            if name in self.floats:
                half = _takes_half(schema, schema.inputs, index)
                node.input[index] = self.weight(name, half) or self.tensor(name, half, outputs)
        after = []
        for index, name in enumerate(node.output):
            if name in self.floats:
                place = _half_of(name) if name in outputs else name
                if not _takes_half(schema, schema.outputs, index):
                    after.append(_cast(f"{name}_fp32", place, HALF))
                    place = f"{name}_fp32"
                else:
                    _set_type(node)
                node.output[index] = place
        self.nodes += [node, *after]

    def schema_of(self, node: "NodeProto") -> Any:
        """Return the operator's schema in the ONNX standard."""
        from onnx import defs

        if any(attribute.HasField("g") or len(attribute.graphs) for attribute in node.attribute):
            raise ExportError(f"{node.op_type} has a graph of its own, which cannot be written in fp16 here")
        try:
            return defs.get_schema(node.op_type, self.opsets[node.domain], node.domain)
        except Exception as error:  # onnx's own SchemaError, or an unknown domain
            raise ExportError(f"{node.op_type} is no standard operator: no fp16 for it here") from error

    def weight(self, name: str, half: bool) -> str | None:
        """Return the name under which a weight has the type; None for a tensor that is not a weight."""
        if name not in self.weights:
            return None
        (self.halved if half else self.kept).add(name)
        return _half_of(name) if half else name

    def tensor(self, name: str, half: bool, outputs: set[str]) -> str:
        """Return the name under which a tensor has the type; a Cast is inserted where needed."""
        inputs = {value.name for value in self.graph.input}
        if name in inputs:
            return _half_of(name) if half else name
        stored = _half_of(name) if name in outputs else name
        return stored if half else self.as_type(stored, FLOAT, f"{stored}_as_fp32")

    def as_type(self, name: str, kind: int, place: str) -> str:
        """Return the name of ``name`` cast to ``kind``, once for all its users."""
        if (name, kind) not in self.cast:
            self.nodes.append(_cast(name, place, kind))
            self.cast[name, kind] = place
        return self.cast[name, kind]

    def typed(self, weight: "TensorProto") -> Iterator["TensorProto"]:
        """Yield a weight as its users need it: unchanged, in fp16, or both."""
        if weight.name not in self.halved or weight.name in self.kept:
            yield weight
        if weight.name in self.halved:
            yield _halved(weight, _half_of(weight.name))


def _floats(graph: Any) -> set[str]:
    """Return the names of the float32 tensors; raise ExportError where a type is unknown."""
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in [*graph.input, *graph.output, *graph.value_info]:
        kinds[value.name] = value.type.tensor_type.elem_type
    for node in graph.node:
        for name in node.output:
            if name and not kinds.get(name):
                raise ExportError(
                    f"the type of {name} ({node.op_type}) is not known, so it cannot become fp16"
                )
    return {name for name, kind in kinds.items() if kind == FLOAT}


def _takes_half(schema: Any, formals: Any, index: int) -> bool:
    """Return whether the standard allows fp16 at this place; the last formal covers all later ones."""
    formal = formals[min(index, len(formals) - 1)]
    for constraint in schema.type_constraints:
        if constraint.type_param_str == formal.type_str:
            return HALF_NAME in constraint.allowed_type_strs
    return formal.type_str == HALF_NAME


def _set_type(node: "NodeProto") -> None:
    """Make an operator that names its output type produce fp16 instead of float32."""
    from onnx import helper, numpy_helper

    if node.op_type == "ConstantOfShape" and not node.attribute:
        node.attribute.append(
            helper.make_attribute("value", numpy_helper.from_array(np.zeros(1, np.float16)))
        )
    for attribute in node.attribute:
        if attribute.name in ("to", "dtype") and attribute.i == FLOAT:
            attribute.i = HALF
        elif attribute.name == "value" and attribute.HasField("t") and attribute.t.data_type == FLOAT:
            attribute.t.CopyFrom(_halved(attribute.t, attribute.t.name))
        elif attribute.name in ("value_float", "value_floats"):
            numbers = (
                np.float16(attribute.f)
                if attribute.name == "value_float"
                else np.array(attribute.floats, np.float16)
            )
            attribute.CopyFrom(helper.make_attribute("value", numpy_helper.from_array(np.asarray(numbers))))


def _halved(weight: "TensorProto", name: str) -> "TensorProto":
    from onnx import numpy_helper

    values = numpy_helper.to_array(weight)
    highest = float(np.abs(values).max()) if values.size else 0.0
    if np.isfinite(highest) and highest > LARGEST:
        raise ExportError(
            f"{weight.name} reaches {highest:.3g}, and fp16 ends at {LARGEST:g}: use fp32, or int8"
        )
    return numpy_helper.from_array(values.astype(np.float16), name)


def _cast(source: str, target: str, kind: int) -> "NodeProto":
    from onnx import helper

    return helper.make_node("Cast", [source], [target], f"cast_{target}", to=kind)


def _half_of(name: str) -> str:
    return f"{name}_fp16"
