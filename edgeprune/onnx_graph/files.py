"""ONNX files: read and checked, their tensors found wherever they lie, written aside and renamed."""

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, external_data_helper, numpy_helper

from edgeprune.errors import ModelError, one_line
from edgeprune.files.writing import written_aside

OPSETS = (9, 26)
LARGEST = 2**31 - 1  # bytes of a message of protobuf
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
STANDARD = ("", "ai.onnx")
_QUANTISED = {
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger",
    "MatMulInteger",
}  # fmt: skip


class OnnxFile:
    """A model with its tensors, those in external files too.

    Attributes:
        model: what onnx read; its tensors hold their data.
        name: for messages.
        external: names of the initializers that lay outside of the file.
        aliases: result of an Identity -> the constant that it passes on; exporters merge equal weights by these.
    """

    def __init__(self, model: ModelProto, name: str, external: frozenset[str] = frozenset()) -> None:
        self.model, self.name, self.external = model, name, external
        self._initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self._constants = {
            node.output[0]: node
            for node in model.graph.node
            if node.op_type == "Constant" and node.domain in STANDARD
        }
        self.aliases: dict[str, str] = {}
        self._find_aliases()
        self.opset = next((o.version for o in model.opset_import if o.domain in STANDARD), 0)

    def _find_aliases(self) -> None:
        outputs = {value.name for value in self.model.graph.output}
        for node in self.model.graph.node:
            if node.op_type == "Identity" and node.domain in STANDARD and node.output[0] not in outputs:
                source = self.source_of(node.input[0])
                if source in self._initializers or source in self._constants:
                    self.aliases[node.output[0]] = source

    def __deepcopy__(self, memo: dict[int, Any]) -> "OnnxFile":
        return self  # networks share it: whoever changes it takes a `copy` first

    @property
    def inputs(self) -> list[onnx.ValueInfoProto]:
        """The inputs that a user gives: those that no initializer is a default of."""
        return [value for value in self.model.graph.input if value.name not in self._initializers]

    @property
    def constants(self) -> list[str]:
        """Names of all values that are written in the file: initializers, and results of Constant nodes."""
        return [*self._initializers, *self._constants]

    def is_constant(self, name: str) -> bool:
        """Return whether a value is written in the file."""
        source = self.source_of(name)
        return source in self._initializers or source in self._constants

    def source_of(self, name: str) -> str:
        """Return the constant that a name stands for."""
        return self.aliases.get(name, name)

    def array(self, name: str) -> NDArray[Any]:
        """Return the numbers of a constant."""
        name = self.source_of(name)
        if name in self._initializers:
            return numpy_helper.to_array(self._initializers[name])
        return constant_of(self._constants[name])

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the lengths of a constant's axes."""
        name = self.source_of(name)
        if name in self._initializers:
            return tuple(self._initializers[name].dims)
        return tuple(self.array(name).shape)

    def element_type(self, name: str) -> int:
        """Return the type of a constant's elements, as `onnx.TensorProto` numbers them."""
        name = self.source_of(name)
        if name in self._initializers:
            return int(self._initializers[name].data_type)
        return int(onnx.helper.np_dtype_to_tensor_dtype(self.array(name).dtype))

    def put(self, name: str, array: NDArray[Any]) -> None:
        """Replace the numbers of a constant; its name, type and place in the file stay."""
        tensor = numpy_helper.from_array(np.ascontiguousarray(array), name)
        if name in self._initializers:
            old = self._initializers[name]
            tensor.doc_string = old.doc_string
            old.CopyFrom(tensor)
            return
        node = self._constants[name]
        (attribute,) = node.attribute
        kept = attribute.name
        tensor.name = attribute.t.name
        if kept != "value":
            del node.attribute[:]
            node.attribute.append(onnx.helper.make_attribute("value", tensor))
            return
        attribute.t.CopyFrom(tensor)

    @property
    def float_type(self) -> np.dtype[Any]:
        """The type of the file's floating-point numbers: that of its first weight."""
        types = (self.array(name).dtype for name in self.constants)
        return next((kind for kind in types if np.issubdtype(kind, np.floating)), np.dtype(np.float32))

    def add(self, name: str, array: NDArray[Any], like: str | None = None) -> str:
        """Add an initializer and return its name.

        Args:
            name: what it is called, with a stroke behind it where that is taken.
            array: its numbers.
            like: an initializer beside which it lies, inside the file or outside.
        """
        taken = self.names()
        free = name
        while free in taken:
            free += "_"
        self.model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), free))
        self._initializers[free] = self.model.graph.initializer[-1]
        if like in self.external:
            self.external |= {free}
        return free

    def refreshed(self) -> "OnnxFile":
        """Return the same file read anew, after its nodes were changed."""
        return OnnxFile(self.model, self.name, self.external)

    def names(self) -> set[str]:
        """Return the names of all values and nodes."""
        graph = self.model.graph
        names = {*self._initializers, *(value.name for value in graph.input)}
        for node in graph.node:
            names |= {node.name, *node.input, *node.output}
        return names

    def copy(self) -> "OnnxFile":
        """Return a copy that can be changed."""
        model = ModelProto()
        model.CopyFrom(self.model)
        return OnnxFile(model, self.name, self.external)


def constant_of(node: NodeProto) -> NDArray[Any]:
    """Return the numbers of a Constant node."""
    (attribute,) = node.attribute
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    kind = {
        "value_int": np.int64,
        "value_ints": np.int64,
        "value_float": np.float32,
        "value_floats": np.float32,
    }
    if attribute.name not in kind:
        raise ModelError(
            f"the constant {node.output[0]} is of strings or sparse: such a constant cannot be pruned around"
        )
    return np.array(value, dtype=kind[attribute.name])


def read(path: str | Path) -> OnnxFile:
    """Read and check an ONNX file, with its external data.

    Raises:
        ModelError: it is missing, damaged, quantised, or its external data are missing.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"there is no file {path}: give the path of an ONNX file")
    try:
        content = path.read_bytes()
        model = ModelProto.FromString(content)
    except Exception as error:
        raise ModelError(
            f"{path} is not an ONNX file, or is cut off ({_short(error)}): export it again"
        ) from error
    if not model.graph.node or not model.opset_import:
        raise ModelError(f"{path} is not an ONNX file, or is cut off (it has no graph): export it again")
    external = frozenset(
        tensor.name for tensor in model.graph.initializer if external_data_helper.uses_external_data(tensor)
    )
    _check_kind(model, path)
    _check_size(model, path)
    try:
        external_data_helper.load_external_data_for_model(model, str(path.parent))
    except Exception as error:
        places = sorted(
            {
                entry.value
                for t in model.graph.initializer
                for entry in t.external_data
                if entry.key == "location"
            }
        )
        raise ModelError(
            f"{path} keeps its weights in {', '.join(places) or 'another file'}, which cannot be read "
            f"({_short(error)}): put that file beside it"
        ) from error
    _check(model if external else content, path)
    return OnnxFile(model, str(path), external)


def _check_size(model: ModelProto, path: Path) -> None:
    """Refuse what protobuf cannot hold in one message: tensors are copied and written, those of other files, too."""
    size = sum(
        math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        for tensor in model.graph.initializer
        if tensor.data_type in FLOATS
    )
    if size >= LARGEST:
        raise ModelError(
            f"{path} has weights of {size / 2**30:.1f} GB, and an ONNX file of 2 GB or more cannot be pruned: prune "
            "the network that it was exported from"
        )


def _check_kind(model: ModelProto, path: Path) -> None:
    """Refuse what cannot be pruned: other opsets, quantised networks."""
    opset = next((o.version for o in model.opset_import if o.domain in STANDARD), 0)
    if not OPSETS[0] <= opset:
        raise ModelError(
            f"{path} is of opset {opset}, and {OPSETS[0]} is the oldest that is read: "
            "export it anew, or convert it with onnx.version_converter"
        )
    quantised = next((node.op_type for node in model.graph.node if node.op_type in _QUANTISED), None)
    if quantised is not None:
        raise ModelError(
            f"{path} is quantised (it has {quantised}): prune the float network, and quantise it afterwards"
        )


def _check(model: ModelProto | bytes, path: Path) -> None:
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        raise ModelError(f"{path} is not a valid ONNX file ({_short(error)}): export it again") from error


def _short(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return one_line((lines or [type(error).__name__])[0])[:120]


def write(file: OnnxFile, path: str | Path) -> Path:
    """Write a model aside and rename it into place; tensors that lay outside of its file do so again.

    Raises:
        StorageError: it cannot be written.
    """
    path = Path(path)
    if not file.external:
        with written_aside(path) as aside:
            aside.write_bytes(file.model.SerializeToString())
        return path
    model = copy.deepcopy(file.model)
    data = path.with_name(path.name + ".data")
    with written_aside(path) as aside, written_aside(data) as data_aside:
        _write_data(model, file.external, data_aside, data.name)
        aside.write_bytes(model.SerializeToString())
    return path


def _write_data(model: ModelProto, external: frozenset[str], path: Path, location: str) -> None:
    """Move tensors into one file of data, aligned as onnx aligns them."""
    offset = 0
    with path.open("wb") as stream:
        for tensor in model.graph.initializer:
            if tensor.name not in external:
                continue
            content = numpy_helper.to_array(tensor).tobytes()
            gap = -offset % 64
            stream.write(b"\0" * gap + content)
            tensor.raw_data = content  # `set_external_data` asks for it
            for field in ("float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
                tensor.ClearField(field)
            external_data_helper.set_external_data(tensor, location, offset + gap, len(content))
            tensor.ClearField("raw_data")
            offset += gap + len(content)
