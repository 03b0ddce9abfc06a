"""The same ONNX graph in fp16: what TensorRT from 11 on wants, which takes every type from the file.

The operators' own schemas say where fp16 may stand; where it may not (the scales of Resize, Range), the
float32 stays and Casts go around it. Input and output stay float32, so that whoever feeds the model sees no
difference.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edgeprune.backends.base import Job
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
        ExportError: it has subgraphs, weights beyond fp16's range, or a type that cannot be told.
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
    """The model with every float32 tensor in fp16 where its operators take that; see ``export_half``."""
    from onnx import shape_inference

    if len(model.functions):
        from onnx.inliner import inline_local_functions

        model = inline_local_functions(model)
    result: ModelProto = shape_inference.infer_shapes(model)
    rewriting = _Rewriting(result)
    rewriting.run()
    return result


class _Rewriting:
    """One model under way. ``nodes`` is the graph that comes out, in an order that can be run."""

    def __init__(self, model: "ModelProto") -> None:
        self.graph = model.graph
        self.opsets = {one.domain: one.version for one in model.opset_import}
        self.weights = {one.name: one for one in self.graph.initializer}
        self.floats = _floats(self.graph)
        self.nodes: list[NodeProto] = []
        self.kept: set[str] = set()  # weights that some operator wants in float32
        self.halved: set[str] = set()  # weights that some operator takes in fp16
        self.cast: dict[tuple[str, int], str] = {}

    def run(self) -> None:
        """Replace the graph's nodes and weights."""
        for value in self.graph.input:
            if value.name in self.floats and value.name not in self.weights:
                self.as_type(value.name, HALF, _half_of(value.name))
        outputs = {one.name for one in self.graph.output if one.name in self.floats}
        for node in list(self.graph.node):
            self.add(node, outputs)
        for name in outputs:
            self.nodes.append(_cast(_half_of(name), name, FLOAT))
        weights = [one for name in self.weights for one in self.typed(self.weights[name])]
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
        """What the standard says of the operator."""
        from onnx import defs

        if any(one.HasField("g") or len(one.graphs) for one in node.attribute):
            raise ExportError(f"{node.op_type} has a graph of its own, which cannot be written in fp16 here")
        try:
            return defs.get_schema(node.op_type, self.opsets[node.domain], node.domain)
        except Exception as error:  # onnx's own SchemaError, or an unknown domain
            raise ExportError(f"{node.op_type} is no standard operator: no fp16 for it here") from error

    def weight(self, name: str, half: bool) -> str | None:
        """The name under which a weight has the type; None when it is no weight."""
        if name not in self.weights:
            return None
        (self.halved if half else self.kept).add(name)
        return _half_of(name) if half else name

    def tensor(self, name: str, half: bool, outputs: set[str]) -> str:
        """The name under which a tensor has the type; a Cast is put in where it needs one."""
        inputs = {one.name for one in self.graph.input}
        if name in inputs:
            return _half_of(name) if half else name
        stored = _half_of(name) if name in outputs else name
        return stored if half else self.as_type(stored, FLOAT, f"{stored}_as_fp32")

    def as_type(self, name: str, kind: int, place: str) -> str:
        """``name`` cast to ``kind``, once for all its users."""
        if (name, kind) not in self.cast:
            self.nodes.append(_cast(name, place, kind))
            self.cast[name, kind] = place
        return self.cast[name, kind]

    def typed(self, weight: "TensorProto") -> Iterator["TensorProto"]:
        """A weight as it is wanted: as it was, in fp16, or both."""
        if weight.name not in self.halved or weight.name in self.kept:
            yield weight
        if weight.name in self.halved:
            yield _halved(weight, _half_of(weight.name))


def _floats(graph: Any) -> set[str]:
    """Names of the tensors that are float32; ExportError where a type is not known."""
    kinds = {one.name: one.data_type for one in graph.initializer}
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
    """Whether the standard lets this input or output be fp16; the last formal stands for all that follow."""
    formal = formals[min(index, len(formals) - 1)]
    for constraint in schema.type_constraints:
        if constraint.type_param_str == formal.type_str:
            return HALF_NAME in constraint.allowed_type_strs
    return formal.type_str == HALF_NAME


def _set_type(node: "NodeProto") -> None:
    """Where an operator names the type it makes: fp16 instead of float32."""
    from onnx import helper, numpy_helper

    if node.op_type == "ConstantOfShape" and not node.attribute:
        node.attribute.append(
            helper.make_attribute("value", numpy_helper.from_array(np.zeros(1, np.float16)))
        )
    for one in node.attribute:
        if one.name in ("to", "dtype") and one.i == FLOAT:
            one.i = HALF
        elif one.name == "value" and one.HasField("t") and one.t.data_type == FLOAT:
            one.t.CopyFrom(_halved(one.t, one.t.name))
        elif one.name in ("value_float", "value_floats"):
            numbers = np.float16(one.f) if one.name == "value_float" else np.array(one.floats, np.float16)
            one.CopyFrom(helper.make_attribute("value", numpy_helper.from_array(np.asarray(numbers))))


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
