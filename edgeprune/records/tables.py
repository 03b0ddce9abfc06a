"""Schema of a latency table."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from edgeprune.records.fields import Above0, Amount, Name, Positive, Side, Width

Sides = Annotated[list[Side], Meta(max_length=3)]
Pads = Annotated[list[Annotated[int, Meta(ge=0, le=10**5)]], Meta(max_length=6)]


class ShapeRecord(Struct, forbid_unknown_fields=True):
    """A layer but for its channels."""

    op: Name
    size: Sides = []
    kernel: Sides = []
    strides: Sides = []
    pads: Pads = []
    dilations: Sides = []
    after: list[Name] = []
    raw: bool = False


class Axes(Struct):
    """The multiple that widths are best kept at."""

    inputs: Positive
    outputs: Positive


class Roughness(Struct):
    """How many times longer a width between two steps takes."""

    inputs: Above0
    outputs: Above0
    both: Above0


class EntryRecord(Struct):
    """What is known of one shape."""

    shape: ShapeRecord
    steps: Axes
    rough: Roughness
    points: list[tuple[Width, Width, Above0]]


class Conditions(Struct):
    """What a table was measured on."""

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


def shape_fault(shape: dict[str, Any]) -> str | None:
    """Return why the sizes of a shape do not belong together, or None."""
    axes = len(shape.get("size", ()))
    wanted = {"kernel": axes, "strides": axes, "dilations": axes, "pads": 2 * axes}
    for name, count in wanted.items():
        if len(shape.get(name, ())) != count:
            return f"`{name}` must hold {count} numbers for a `size` of {axes}"
    return None
