"""Read the inputs and operators of an ONNX file, which trtexec needs.

A board has no onnx package, so this module parses the protobuf itself: the few required fields (onnx.proto3);
everything else is skipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, NamedTuple

from edgeprune_target.errors import TargetError

VARINT, WIDE, BYTES, NARROW = 0, 1, 2, 5  # wire types
FLOAT16 = 10  # TensorProto.DataType


class OnnxSummary(NamedTuple):
    """{input: shape with None for a dynamic size}, the set of operators, and whether it computes in fp16."""

    inputs: dict
    operators: frozenset
    half: bool

    @property
    def has_scales(self) -> bool:
        """Whether the file itself defines its quantisation."""
        return bool(self.operators & {"QuantizeLinear", "DequantizeLinear"})


def read_onnx(path: str) -> OnnxSummary:
    """Read the file's inputs and operators.

    Raises:
        TargetError: the file is missing, or not an ONNX file.
    """
    try:
        content = memoryview(Path(path).read_bytes())
    except OSError as error:
        raise TargetError(f"no such model file: {path}") from error
    try:
        graph = next(value for number, value in fields(content) if number == 7)
        return _graph(graph)
    except (StopIteration, IndexError, ValueError, TypeError) as error:
        raise TargetError(
            f"{path} is not an ONNX file, or a truncated one: export the model again"
        ) from error


def fields(content: memoryview) -> Iterator[tuple]:
    """Yield (number, value) of a message's fields: bytes as a memoryview, numbers as int."""
    at = 0
    while at < len(content):
        key, at = varint(content, at)
        kind = key & 7
        if kind == VARINT:
            value, at = varint(content, at)
            yield key >> 3, value
        elif kind == BYTES:
            size, at = varint(content, at)
            if at + size > len(content):
                raise ValueError("cut")
            yield key >> 3, content[at : at + size]
            at += size
        elif kind in (WIDE, NARROW):
            at += 8 if kind == WIDE else 4
        else:
            raise ValueError(f"wire type {kind}")


def varint(content: memoryview, at: int) -> tuple:
    """Return (number, position after it)."""
    value, shift = 0, 0
    while True:
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at


def _graph(graph: memoryview) -> OnnxSummary:
    inputs: dict = {}
    operators: set = set()
    weights: set = set()
    half = False
    for number, value in fields(graph):
        if number == 1:  # node
            operators.update(_text(part) for field, part in fields(value) if field == 4)
        elif number == 5:  # initializer: data_type is field 2, name field 8
            parts = dict(fields(value))
            weights.add(_text(parts[8]) if 8 in parts else "")
            half = half or parts.get(2) == FLOAT16
        elif number == 11:  # input
            name, shape = _input(value)
            inputs[name] = shape
    return OnnxSummary(
        {name: shape for name, shape in inputs.items() if name not in weights}, frozenset(operators), half
    )


def _input(value: memoryview) -> tuple:
    parts = dict(fields(value))
    tensor = dict(fields(parts[2]))[1]  # type, then tensor_type
    shape = dict(fields(tensor)).get(2)
    sizes = (
        [] if shape is None else [dict(fields(size)).get(1) for number, size in fields(shape) if number == 1]
    )
    return _text(parts[1]), tuple(size or None for size in sizes)


def _text(value: memoryview) -> str:
    return bytes(value).decode()
