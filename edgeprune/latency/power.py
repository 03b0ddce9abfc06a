"""Hold a power table: the mean power of a device while it runs layers, beside a latency table of the same device."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.bench.compare import why_not_comparable
from edgeprune.errors import LatencyError
from edgeprune.files.writing import write_json
from edgeprune.latency.shapes import Shape
from edgeprune.latency.table import CONDITIONS, Entry, Table, shape_of, what_differs
from edgeprune.records import read_record
from edgeprune.records.bench import EnergySource
from edgeprune.records.tables import PowerRecord

SCHEMA = 1
FOLDER = "power"  # beside the latency tables
INCLUDED = "included"  # the idle power, as in the energies that `bench` gives


def power_place(lut: Path) -> Path:
    """Return the usual path of the power table that belongs to a latency table."""
    return lut.parent / FOLDER / lut.name


@dataclass
class PowerEntry:
    """The mean power while a device runs layers of one shape.

    Attributes:
        shape: of the layers.
        watts: (inputs, outputs) -> power.
    """

    shape: Shape
    watts: dict[tuple[int, int], float] = field(default_factory=dict)

    def at(self, inputs: int, outputs: int) -> float:
        """Return the power at some width: linear between those that were measured, constant beyond, by sqrt(in * out).

        Raises:
            LatencyError: nothing was measured.
        """
        if not self.watts:
            raise LatencyError(f"the power table does not know {self.shape.key}: build it again")
        points = sorted(((a * b) ** 0.5, watts) for (a, b), watts in self.watts.items())
        widths, powers = np.array(points).T
        return float(np.interp((inputs * outputs) ** 0.5, widths, powers))


@dataclass
class PowerTable:
    """Mean powers of layers on one device, under the conditions of its latency table, by one sensor.

    Attributes:
        conditions: those of the latency table; the `sensor`, the `total_kind` and `total_rails` of what it counts; and
            that the `idle` power is included.
        entries: by shape's key.
        created: when, in ISO form.
        idle_w: of the machine before the first measurement; None where it is unknown.
    """

    conditions: dict[str, Any]
    entries: dict[str, PowerEntry] = field(default_factory=dict)
    created: str = ""
    idle_w: float | None = None

    @property
    def source(self) -> EnergySource:
        """What the powers count."""
        return EnergySource(
            sensor=self.conditions["sensor"],
            total_kind=self.conditions["total_kind"],
            total_rails=tuple(self.conditions["total_rails"]),
        )

    def check(self, conditions: Mapping[str, Any], source: EnergySource, place: Path) -> None:
        """Raise LatencyError, naming what differs, unless measured under these conditions by this sensor.

        Args:
            conditions: of the latency table.
            source: what the device's sensor counts now.
            place: of the table, for the message.
        """
        remedy = "move it away, and build one for that: edgeprune lut build --energy"
        now = {**conditions, "sensor": source.sensor}
        if differs := what_differs(self.conditions, now, (*CONDITIONS, "sensor")):
            raise LatencyError(f"the power table {place} was measured with {differs}: {remedy}")
        if mixed := why_not_comparable(self.source, source):
            raise LatencyError(
                f"the power table {place} counts something else than the sensor now: {mixed}: {remedy}"
            )

    def entry(self, shape: Shape) -> PowerEntry:
        """Return the entry of a shape; empty when it is new."""
        return self.entries.setdefault(shape.key, PowerEntry(shape))

    def energies(self, table: Table, others_w: float) -> Table:
        """Return a latency table with mJ in place of ms: a layer's energy is its time by the mean power meanwhile.

        Args:
            table: of the same device.
            others_w: mean power during operations that are not layers.

        Raises:
            LatencyError: this table lacks a layer of that one.
        """
        entries = {key: self._energies(entry) for key, entry in table.entries.items() if key in self.entries}
        others = {key: others_w * ms for key, ms in table.others.items()}
        return replace(table, entries=entries, others=others)

    def _energies(self, entry: Entry) -> Entry:
        power = self.entry(entry.shape)
        return replace(entry, ms={point: ms * power.at(*point) for point, ms in entry.ms.items()})

    def save(self, path: Path) -> None:
        """Write what was measured, aside and renamed."""
        write_json(
            path,
            {
                "schema": SCHEMA,
                "created": self.created,
                "conditions": self.conditions,
                "idle_w": self.idle_w,
                "shapes": {
                    key: {
                        "shape": entry.shape.to_dict(),
                        "points_w": [[a, b, watts] for (a, b), watts in sorted(entry.watts.items())],
                    }
                    for key, entry in sorted(self.entries.items())
                    if entry.watts
                },
            },
        )

    @classmethod
    def load(cls, path: Path) -> "PowerTable":
        """Read a table.

        Raises:
            LatencyError: there is none, it is damaged, or of another edgeprune.
        """
        hint = "remove it, and build it again with: edgeprune lut build --energy"
        record = read_record(path, PowerRecord, schema=SCHEMA, error=LatencyError, hint=hint)
        entries = {}
        for key, value in record["shapes"].items():
            shape = shape_of(key, value["shape"], path, hint)
            entries[key] = PowerEntry(shape, {(int(a), int(b)): float(w) for a, b, w in value["points_w"]})
        return cls(record["conditions"], entries, record["created"], record["idle_w"])
