"""Hold a latency table: measured times of layers by shape and channels, with interpolation between them."""

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgeprune.errors import LatencyError
from edgeprune.files.writing import write_json
from edgeprune.latency.shapes import SINGLE, Shape
from edgeprune.records import read_record
from edgeprune.records.tables import TableRecord, shape_fault

SCHEMA = 3  # 1 had medians, 2 the profiler's own time: neither must be mixed with what is timed today
AXES = ("inputs", "outputs")
# What a table was measured on: its times are valid only there.
CONDITIONS = ("device", "processor", "runtime", "runtime_version", "precision", "batch", "threads")

ASSUMED_ON = "device_assumed_on"  # a further condition: the actual machine, where its profile was assumed


@dataclass
class Entry:
    """The measured times of one shape.

    Attributes:
        shape: of the layer.
        ms: (inputs, outputs) -> time.
        steps: for each axis, the multiple that widths are best kept at: those between cost the next one's
            time, or more.
        misalignment_penalty: for each axis, and for "both": how many times longer a width between two steps
            takes than the next one.
    """

    shape: Shape
    ms: dict[tuple[int, int], float] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=lambda: dict.fromkeys(AXES, 1))
    misalignment_penalty: dict[str, float] = field(
        default_factory=lambda: {"inputs": 1.0, "outputs": 1.0, "both": 1.0}
    )

    def at(self, inputs: int, outputs: int) -> float:
        """Return the time in ms: measured, or interpolated linearly in steps. 0 where no channel is left.

        Raises:
            LatencyError: nothing was measured.
        """
        if inputs <= 0 or outputs <= 0:
            return 0.0
        if (inputs, outputs) in self.ms:
            return self.ms[inputs, outputs]
        if not self.ms:
            raise LatencyError(f"the table has no times of {self.shape.key}: build it again")
        rises = [self._rise(axis, width) for axis, width in zip(AXES, (inputs, outputs), strict=True)]
        return self._between(*(width for width, _ in rises)) * self._penalty(
            *(misaligned for _, misaligned in rises)
        )

    def _rise(self, axis: str, width: int) -> tuple[int, bool]:
        """Return the width that this one costs as much as, and whether the misalignment penalty applies."""
        widths = {point[AXES.index(axis)] for point in self.ms}
        if width in widths:
            return width, False
        step = self.steps[axis]
        rounded_up = min(-(-width // step) * step, max(widths)) if width <= max(widths) else width
        return rounded_up, width % step != 0 and len(widths) > 1

    def _penalty(self, inputs: bool, outputs: bool) -> float:
        if inputs and outputs:
            return self.misalignment_penalty["both"]
        return (
            self.misalignment_penalty["inputs"]
            if inputs
            else self.misalignment_penalty["outputs"]
            if outputs
            else 1.0
        )

    def _between(self, inputs: int, outputs: int) -> float:
        """Interpolate bilinearly in the grid; beyond it, extrapolate the last interval."""
        if self.shape.op in SINGLE:
            return _line({a: ms for (a, _), ms in self.ms.items()}, inputs)
        rows: dict[int, dict[int, float]] = {}
        for (a, b), ms in self.ms.items():
            rows.setdefault(a, {})[b] = ms
        by_inputs = {
            a: _line(row, outputs)
            for a, row in rows.items()
            if len(row) > 1 or len(rows) == 1 or outputs in row
        }
        if not by_inputs:  # one width of outputs alone was timed, as of a classifier
            by_inputs = {a: ms * outputs / b for a, row in rows.items() for b, ms in row.items()}
        return _line(by_inputs, inputs)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "shape": self.shape.to_dict(),
            "steps": self.steps,
            "rough": self.misalignment_penalty,
            "points": points_of(self.ms),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Entry":
        """Read `to_dict`'s form back."""
        shape = Shape.from_dict(value["shape"])
        return cls(shape, _times_of(value["points"]), dict(value["steps"]), dict(value["rough"]))


def points_of(times_ms: Mapping[tuple[int, int], float]) -> list[list[float]]:
    """Return times by (inputs, outputs) as JSON: [inputs, outputs, ms], sorted."""
    return [[a, b, ms] for (a, b), ms in sorted(times_ms.items())]


def _times_of(points: Sequence[Sequence[float]]) -> dict[tuple[int, int], float]:
    return {(int(a), int(b)): float(ms) for a, b, ms in points}


def what_differs(
    recorded: Mapping[str, Any], now: Mapping[str, Any], names: Sequence[str] = CONDITIONS
) -> str | None:
    """Return the first condition that is another one now, with both values; None if there is none.

    Args:
        recorded: conditions of a table.
        now: those of a device; what is missing is not compared.
        names: of the conditions.
    """
    for name in names:
        if name in now and now[name] != recorded.get(name):
            return f"{name.replace('_', ' ')} {recorded.get(name)}, not {now[name]}"
    return None


def shape_of(key: str, value: dict[str, Any], path: Path, hint: str, member: str = "shapes") -> Shape:
    """Return a shape as a table has it.

    Args:
        key: under which it stands.
        value: as read.
        path: of the table, for the message.
        hint: the remedy, added to the message.
        member: of the file, in which it stands.

    Raises:
        LatencyError: its sizes contradict each other, or its key.
    """
    fault = shape_fault(value)
    if fault is None and Shape.from_dict(value).key != key:
        fault = f"its shape is {Shape.from_dict(value).key!r}"
    if fault is not None:
        raise LatencyError(f"{path}: `{member}` {key[:80]!r} is wrong ({fault}): {hint}")
    return Shape.from_dict(value)


def _line(values: Mapping[int, float], at: int) -> float:
    """Interpolate linearly; outside extrapolate the nearest interval, and never below 0."""
    if at in values:
        return values[at]
    places = sorted(values)
    if len(places) == 1:
        return values[places[0]]
    right = min(max(bisect.bisect(places, at), 1), len(places) - 1)
    a, b = places[right - 1], places[right]
    return max(0.0, values[a] + (values[b] - values[a]) * (at - a) / (b - a))


@dataclass
class Table:
    """Times on one device, under one set of conditions.

    Attributes:
        conditions: what `CONDITIONS` names.
        entries: by shape's key.
        others: operation and size -> ms for each channel, of other operations than layers.
        created: when, in ISO form.
        reference_ms: of the layer that is in every sample file; all times are scaled to it.
        begun: times of shapes that have no entry yet, by (inputs, outputs): a stopped build goes on with them.
    """

    conditions: dict[str, Any]
    entries: dict[str, Entry] = field(default_factory=dict)
    others: dict[str, float] = field(default_factory=dict)
    created: str = ""
    reference_ms: float | None = None
    begun: dict[Shape, dict[tuple[int, int], float]] = field(default_factory=dict)

    def scaled(self, factor: float) -> "Table":
        """Return the table with all layers' times multiplied."""
        entries = {
            key: replace(entry, ms={point: factor * ms for point, ms in entry.ms.items()})
            for key, entry in self.entries.items()
        }
        return replace(self, entries=entries)

    def check(self, conditions: Mapping[str, Any]) -> None:
        """Raise LatencyError, naming what differs, unless measured under these conditions.

        Missing conditions are not checked.
        """
        if differs := what_differs(self.conditions, conditions):
            raise LatencyError(f"this latency table was measured with {differs}: build one for that")

    def entry(self, shape: Shape) -> Entry:
        """Return the entry of a shape; empty when it is new."""
        return self.entries.setdefault(shape.key, Entry(shape))

    def save(self, path: Path) -> None:
        """Write what was timed, aside and renamed."""
        begun = {
            shape.key: {"shape": shape.to_dict(), "points": points_of(ms)}
            for shape, ms in self.begun.items()
            if ms
        }
        write_json(
            path,
            {
                "schema": SCHEMA,
                "created": self.created,
                "conditions": self.conditions,
                "reference_ms": self.reference_ms,
                "shapes": {key: entry.to_dict() for key, entry in sorted(self.entries.items()) if entry.ms},
                "others_ms_per_channel": dict(sorted(self.others.items())),
                **({"begun": begun} if begun else {}),
            },
        )

    @classmethod
    def load(cls, path: Path) -> "Table":
        """Read a table.

        Raises:
            LatencyError: there is none, it is damaged, or of another edgeprune.
        """
        hint = "remove it, and build it again with: edgeprune lut build"
        record = read_record(path, TableRecord, schema=SCHEMA, error=LatencyError, hint=hint)
        for key, value in record["shapes"].items():
            shape_of(key, value["shape"], path, hint)
        entries = {key: Entry.from_dict(value) for key, value in record["shapes"].items()}
        begun = {
            shape_of(key, value["shape"], path, hint, "begun"): _times_of(value["points"])
            for key, value in (record.get("begun") or {}).items()
        }
        return cls(
            record["conditions"], entries, record["others_ms_per_channel"], record["created"],
            record["reference_ms"], begun,
        )  # fmt: skip
