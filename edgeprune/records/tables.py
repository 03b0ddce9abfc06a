"""Schemas of a latency table and of a power table."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from edgeprune.records.fields import Above0, Amount, Name, Positive, Side, Width

Sides = Annotated[list[Side], Meta(max_length=3)]
Pads = Annotated[list[Annotated[int, Meta(ge=0, le=10**5)]], Meta(max_length=6)]


SIZE_ALONE = ("quantize", "dequantize")  # conversions between precisions have no kernel


class ShapeRecord(Struct, forbid_unknown_fields=True):
    """A layer without its channel counts."""

    op: Name
    size: Sides = []
    kernel: Sides = []
    strides: Sides = []
    pads: Pads = []
    dilations: Sides = []
    after: list[Name] = []
    raw: bool = False


class Axes(Struct):
    """The multiples to which channel counts should be aligned."""

    inputs: Positive
    outputs: Positive


class Roughness(Struct):
    """Misalignment penalty: factor on the latency of channel counts between two steps."""

    inputs: Above0
    outputs: Above0
    both: Above0


class EntryRecord(Struct):
    """The measured points of one shape."""

    shape: ShapeRecord
    steps: Axes
    rough: Roughness
    points: list[tuple[Width, Width, Above0]]


class BegunRecord(Struct):
    """The times of a shape whose table is not finished."""

    shape: ShapeRecord
    points: list[tuple[Width, Width, Above0]]


class Conditions(Struct):
    """The conditions under which a table was measured."""

    device: Name
    runtime: Name
    precision: Name
    batch: Positive
    threads: Positive
    processor: str | None = None
    runtime_version: str | None = None


class TableRecord(Struct):
    """A latency table."""

    conditions: Conditions
    shapes: dict[str, EntryRecord]
    others_ms_per_channel: dict[str, Amount]
    created: str
    reference_ms: Above0 | None
    begun: dict[str, BegunRecord] | None = None


class PowerConditions(Conditions, kw_only=True):
    """The conditions under which a power table was measured: the sensor, what it counts, and the idle power."""

    sensor: Name
    total_kind: Literal["measured_input", "rail_sum"]
    total_rails: list[Name]
    idle: Literal["included"]


class PowerEntryRecord(Struct):
    """The mean power of one shape, watts by its numbers of channels."""

    shape: ShapeRecord
    points_w: Annotated[list[tuple[Width, Width, Above0]], Meta(min_length=1)]


class PowerRecord(Struct):
    """A power table."""

    conditions: PowerConditions
    shapes: dict[str, PowerEntryRecord]
    created: str
    idle_w: Amount | None


def shape_fault(shape: dict[str, Any]) -> str | None:
    """Return how the sizes of a shape contradict each other, or None."""
    axes = len(shape.get("size", ()))
    if shape["op"] in SIZE_ALONE:
        axes = 0
    expected = {"kernel": axes, "strides": axes, "dilations": axes, "pads": 2 * axes}
    for name, count in expected.items():
        if len(shape.get(name, ())) != count:
            return f"`{name}` must hold {count} numbers for a `size` of {axes}"
    return None
