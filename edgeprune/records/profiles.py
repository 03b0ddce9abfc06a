"""Schema of a device profile (TOML)."""

from typing import Annotated

from msgspec import Meta, Struct

from edgeprune.records.fields import Name, Positive

Names = list[Name]


class TotalRecord(Struct, forbid_unknown_fields=True):
    """A definition of a device's total power."""

    kind: Name
    rails: Names


class PowerRecord(Struct, forbid_unknown_fields=True):
    """Power sensors, rails and totals."""

    sensors: Names = []
    rails: Names = []
    totals: list[TotalRecord] = []


class BoardRecord(Struct, forbid_unknown_fields=True):
    """Properties of a board."""

    soc: str | None = None
    compute: str | None = None
    memory_gb: list[Positive] = []
    jetpack: dict[str, str] = {}


class DetectRecord(Struct, forbid_unknown_fields=True):
    """Words of the device tree by which the board is recognised."""

    parts: Names = []
    models: Names = []


class ProfileRecord(Struct, forbid_unknown_fields=True):
    """profiles/NAME.toml."""

    title: Name
    runtimes: Annotated[dict[Name, Name], Meta(min_length=1)]
    batch: Positive = 1
    alignment: dict[str, Positive] = {}
    board: BoardRecord | None = None
    detect: DetectRecord | None = None
    power: PowerRecord | None = None
