"""Schema of the keep-plans and the table of tensors in a file of `edgeprune.save`."""

import keyword
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from edgeprune.errors import WeightsError, one_line
from edgeprune.files.reading import parse_json
from edgeprune.options.checks import short
from edgeprune.records.checking import HINT, check, check_schema
from edgeprune.records.fields import Index, Name, Width

SCHEMA = 1
LARGEST_TEXT = 64 * 2**20  # characters
LARGEST_EXAMPLE = 2**28  # values
DTYPES = (
    "float32", "float64", "float16", "bfloat16", "complex64", "complex128", "int64", "int32", "int16", "int8",
    "uint8", "bool",
)  # fmt: skip

Size = Annotated[int, Meta(ge=0, le=10**7)]
Sizes = Annotated[list[Size], Meta(max_length=16)]
Number = Annotated[int, Meta(ge=-(2**53), le=2**53)]
Text = Annotated[str, Meta(max_length=256)]
# A network may pass a dict as keywords, which become source code where a forward is rewritten.
Key = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,255}\Z")]


class TensorInput(Struct, forbid_unknown_fields=True, tag_field="kind", tag="tensor"):
    """A tensor of the example."""

    shape: Sizes
    dtype: Literal[DTYPES]  # type: ignore[valid-type]


class ListInput(Struct, forbid_unknown_fields=True, tag_field="kind", tag="list"):
    """A list or tuple of the example."""

    items: "list[Input]"
    fixed: bool  # a tuple


class DictInput(Struct, forbid_unknown_fields=True, tag_field="kind", tag="dict"):
    """A dict of the example."""

    items: "dict[Key, Input]"


class PlainInput(Struct, forbid_unknown_fields=True, tag_field="kind", tag="plain"):
    """A number or a text of the example."""

    value: Number | float | bool | Text | None


class ObjectInput(Struct, forbid_unknown_fields=True, tag_field="kind", tag="object"):
    """An object of another class, which a file cannot contain."""

    name: Text


Input = TensorInput | ListInput | DictInput | PlainInput | ObjectInput


class SavedGroup(Struct, forbid_unknown_fields=True):
    """The channels of one group that are kept."""

    name: Name
    size: Width
    kept: list[Index]


class SavedPlan(Struct, forbid_unknown_fields=True):
    """A keep-plan, without its notes."""

    fingerprint: Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
    groups: list[SavedGroup]
    bypass: bool


class Step(Struct, forbid_unknown_fields=True):
    """A keep-plan, and the example and options with which the network was traced for it."""

    inputs: Annotated[list[Input], Meta(min_length=1, max_length=1000)]
    dtype: Text  # of the network then
    ignore: list[Name]
    plan: SavedPlan
    opaque: list[Name] = []  # modules that were neither traced nor pruned


class StoredTensor(Struct, forbid_unknown_fields=True):
    """A parameter or buffer: its name in the file, and its kind.

    Tied tensors have one name in the file. A ``passing`` buffer is a non-persistent one, which no state_dict has.
    """

    stored: Name
    kind: Literal["parameter", "frozen", "buffer", "passing", "state"]


class SavedPlans(Struct, forbid_unknown_fields=True):
    """All keep-plans and tensors of a file. ``shapes`` are those of the unpruned network."""

    schema: int
    name: Name
    shapes: dict[Name, Sizes]
    steps: Annotated[list[Step], Meta(min_length=1, max_length=1_000)]
    tensors: dict[Name, StoredTensor]


def read_saved(text: str, path: Path) -> SavedPlans:
    """Parse and check the keep-plans of a file, as far as possible without its network.

    Args:
        text: JSON.
        path: of the file, for messages.

    Raises:
        WeightsError: it is not such a record.
    """
    where = f"{one_line(short(str(path)))}, keep-plans"
    if len(text) > LARGEST_TEXT:
        raise WeightsError(f"{where}: they are longer than {LARGEST_TEXT:,} characters: {HINT}")
    try:
        value = parse_json(text)
    except ValueError as error:
        raise WeightsError(f"{where}: no JSON ({one_line(short(str(error)))}): {HINT}") from error
    check_schema(value, where, schema=SCHEMA, error=WeightsError)
    check(value, SavedPlans, where, error=WeightsError)
    saved = msgspec.convert(value, SavedPlans)
    for number, step in enumerate(saved.steps):
        _check_step(step, f"{where}: `steps[{number}]", WeightsError)
    return saved


def _check_step(step: Step, place: str, error: type[WeightsError]) -> None:
    for number, group in enumerate(step.plan.groups):
        kept = group.kept
        if any(b <= a for a, b in zip(kept, kept[1:], strict=False)) or (kept and kept[-1] >= group.size):
            raise error(
                f"{place}.plan.groups[{number}].kept` must be rising numbers below {group.size}: {HINT}"
            )
    reserved = next((key for key in keys_of(step.inputs) if not is_key(key)), None)
    if reserved is not None:
        raise error(f"{place}.inputs` has the key {reserved}, a word of Python: {HINT}")
    if values_of(step.inputs) > LARGEST_EXAMPLE:
        raise error(f"{place}.inputs` are more than {LARGEST_EXAMPLE:,} values: {HINT}")


def values_of(inputs: Any) -> int:
    """Return how many numbers an example has."""
    if isinstance(inputs, TensorInput):
        return math.prod(inputs.shape)
    if isinstance(inputs, ListInput):
        return values_of(inputs.items)
    if isinstance(inputs, DictInput):
        return values_of([*inputs.items.values()])
    return sum(map(values_of, inputs)) if isinstance(inputs, list) else 0


def keys_of(inputs: Any) -> list[str]:
    """Return the keys of all dicts of an example."""
    if isinstance(inputs, ListInput):
        return keys_of(inputs.items)
    if isinstance(inputs, DictInput):
        return [*inputs.items, *keys_of([*inputs.items.values()])]
    return [key for item in inputs for key in keys_of(item)] if isinstance(inputs, list) else []


def is_key(key: Any) -> bool:
    """Return whether a dict with this key can be saved: the key may become a keyword argument."""
    return isinstance(key, str) and key.isidentifier() and key.isascii() and not keyword.iskeyword(key)
