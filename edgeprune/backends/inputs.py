"""Inputs of a model: names, shapes and types, as a user types them and as an ONNX file declares them."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeprune.errors import BenchError, ModelError, known, one_line
from edgeprune.options.bounds import MAX_ELEMENTS
from edgeprune.options.checks import short

FORM = "NAME=1x3x224x224, or NAME=1x16:int64"
FLOAT = "float32"
DTYPES = ("float32", "float16", "float64", "bfloat16", "int64", "int32", "int8", "uint8", "bool")
_TYPED = re.compile(r"(?:(?P<name>[^=]+)=)?(?P<sizes>[0-9]{1,9}(?:x[0-9]{1,9})*)(?::(?P<dtype>\w+))?")


@dataclass(frozen=True)
class ModelInput:
    """One input of a model.

    Attributes:
        name: in exported files; "" for the first or only one.
        shape: batch included; None for a free size.
        dtype: of its numbers, such as "float32".
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = FLOAT

    def __str__(self) -> str:
        sizes = "x".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name}={sizes}" + ("" if self.dtype == FLOAT else f":{self.dtype}")


def parse_input(text: str) -> ModelInput:
    """Parse 'mask=1x16:int64'; without a name it is the first input.

    Raises:
        ModelError: the text has another form, an unknown type, or too many values.
    """
    match = _TYPED.fullmatch(text)
    shape = tuple(int(size) for size in match["sizes"].split("x")) if match else ()
    if match is None or 0 in shape:
        raise ModelError(f"`inputs` {short(one_line(text))!r} is not of the form 3x224x224, or {FORM}")
    dtype = match["dtype"] or FLOAT
    if dtype not in DTYPES:
        raise ModelError(f"`inputs`: {known('type', dtype, list(DTYPES))}")
    if math.prod(shape) > MAX_ELEMENTS:
        raise ModelError(
            f"`inputs` {text} has {math.prod(shape):,} values: at most {MAX_ELEMENTS:,} are taken"
        )
    return ModelInput(match["name"] or "", shape, dtype)


def parse_inputs(texts: Iterable[str]) -> tuple[ModelInput, ...]:
    """Parse several inputs.

    Raises:
        ModelError: one has another form, a name comes twice, or one of several has none.
    """
    inputs = tuple(map(parse_input, texts))
    names = [item.name for item in inputs]
    for name in names:
        if names.count(name) > 1 or (not name and len(names) > 1):
            what = f"names {name!r} {names.count(name)} times" if name else "has an input without a name"
            raise ModelError(f"`inputs` {what}: give each once, as {FORM}")
    return inputs


def onnx_inputs(path: Path) -> tuple[ModelInput, ...]:
    """Return the inputs that an ONNX file declares, without its weights.

    Raises:
        BenchError: there is no such file, or it is not ONNX.
    """
    import onnx

    if not path.is_file():
        raise BenchError(f"no such model file: {path}")
    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except Exception as error:  # protobuf's own
        raise BenchError(
            f"{path} cannot be read as ONNX ({one_line(error) or type(error).__name__})"
        ) from error
    if not graph.node and not graph.output:
        raise BenchError(f"{path} is not an ONNX file: there is no graph in it")
    weights = {tensor.name for tensor in graph.initializer}
    return tuple(_declared(value) for value in graph.input if value.name not in weights)


def _declared(value: Any) -> ModelInput:
    from onnx import TensorProto

    kind = value.type.tensor_type
    shape = tuple(size.dim_value if size.dim_value > 0 else None for size in kind.shape.dim)
    name = TensorProto.DataType.Name(kind.elem_type).lower()
    return ModelInput(value.name, shape, {"float": FLOAT, "double": "float64"}.get(name, name))


def check_same_inputs(inputs: Mapping[Path, Sequence[ModelInput]]) -> None:
    """Refuse two files that take different inputs: the same numbers are fed to both.

    Args:
        inputs: file -> its inputs.

    Raises:
        BenchError: names the first difference.
    """
    (first, ours), *others = inputs.items()
    for path, theirs in others:
        by_name = {item.name: item for item in theirs}
        for item in ours:
            other = by_name.pop(item.name, None)
            if other is None:
                names = ", ".join(known_item.name for known_item in theirs) or "none"
                raise BenchError(
                    f"{first} has an input {item.name!r} that {path} has not (it has {names}): both must "
                    "take the same inputs, export them alike"
                )
            if other != item and not _compatible(item, other):
                raise BenchError(
                    f"the inputs differ: {item} in {first}, {other} in {path}: export both for the same shapes"
                )
        if by_name:
            raise BenchError(
                f"{path} has an input {next(iter(by_name))!r} that {first} has not: both must take the same "
                "inputs, export them alike"
            )


def _compatible(item: ModelInput, other: ModelInput) -> bool:
    """Return whether one shape fits both: a free size takes any."""
    sizes_fit = len(item.shape) == len(other.shape) and all(
        a == b or None in (a, b) for a, b in zip(item.shape, other.shape, strict=True)
    )
    return sizes_fit and item.dtype == other.dtype


def merged(inputs: Sequence[Sequence[ModelInput]]) -> tuple[ModelInput, ...]:
    """Return the inputs of files that take the same, each size fixed where it is fixed in any of them."""
    first, *others = inputs
    by_name = [{item.name: item for item in other} for other in others]
    return tuple(
        ModelInput(
            item.name,
            tuple(
                next((size for size in sizes if size is not None), None)
                for sizes in zip(item.shape, *(names[item.name].shape for names in by_name), strict=True)
            ),
            item.dtype,
        )
        for item in first
    )


def fed_shapes(
    declared: Sequence[ModelInput], typed: Sequence[ModelInput], batch: int
) -> tuple[dict[str, tuple[int, ...]], int]:
    """Return the shape that each input of a file is fed with, and the images in one call.

    A free first size is the batch unless the user typed the shape; every other free size must be typed. A typed
    shape without a name may leave the batch out.

    Args:
        declared: by the file.
        typed: by the user.
        batch: images per call.

    Raises:
        BenchError: a typed input does not exist or contradicts the file, or a free size was not typed.
    """
    names = [item.name for item in declared]
    shapes: dict[str, tuple[int, ...]] = {}
    by_name = {item.name or (names[0] if names else ""): item for item in typed}
    for name in by_name:
        if name not in names:
            raise BenchError(f"`inputs`: {known('input', name, names)}")
    for item in declared:
        entered = by_name.get(item.name)
        if entered is None:
            shapes[item.name] = _with_batch(item, batch)
            continue
        if not entered.name and len(entered.shape) == len(item.shape) - 1:
            entered = replace(entered, shape=(batch, *entered.shape))
        _check_typed(item, entered)
        shapes[item.name] = tuple(size for size in entered.shape if size is not None)
    first = next(iter(shapes.values()), ())
    return shapes, first[0] if first else batch


def _check_typed(item: ModelInput, entered: ModelInput) -> None:
    if entered.dtype not in (item.dtype, FLOAT):
        raise BenchError(f"`inputs`: {item.name} is {item.dtype} in the file, not {entered.dtype}")
    fits = len(entered.shape) == len(item.shape) and all(
        size in (None, typed) for size, typed in zip(item.shape, entered.shape, strict=True)
    )
    if not fits:
        raise BenchError(
            f"`inputs`: {replace(entered, name=item.name)} does not fit the file, which takes {item}"
        )


def _with_batch(item: ModelInput, batch: int) -> tuple[int, ...]:
    rest = item.shape[1:]
    if None in rest:
        example = "x".join(map(str, (batch, *(size or 32 for size in rest))))
        raise BenchError(
            f"the sizes of {item} are free: give its shape with `inputs`, as {item.name}={example}"
        )
    if not item.shape:
        return ()
    if item.shape[0] is not None and batch not in (1, item.shape[0]):
        raise BenchError(f"{item} has a fixed batch: `batch` cannot be {batch}, leave it out")
    return (item.shape[0] or batch, *(size for size in rest if size is not None))
