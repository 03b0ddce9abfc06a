"""What a keep-plan will take on a device, by its latency table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgeprune.graph.classes import Bools, Graph
from edgeprune.latency.shapes import Layer, Model
from edgeprune.latency.table import Entry, Table

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Timed:
    """One layer of a traced model: its entry in the table, and where its channels come from.

    Attributes:
        layer: of the ONNX file.
        entry: times by channels.
        inputs, outputs: the class of each channel, -1 where it always stays; None where the graph does not
            know the layer, so that it never changes.
    """

    layer: Layer
    entry: Entry
    inputs: Ints | None
    outputs: Ints | None


@dataclass
class LatencyModel:
    """Predicted milliseconds of a traced model at any keep-set.

    Args:
        graph: the traced model.
        model: its ONNX file's layers, whose names are the torch modules'.
        table: of the device.
        correction: by which the table's sum is multiplied, once the whole has been measured.
    """

    graph: Graph
    model: Model
    table: Table
    correction: float = 1.0
    _known: dict[tuple[str, int, int], float] = field(default_factory=dict)

    @cached_property
    def timed(self) -> list[Timed]:
        """Every layer that the table knows."""
        slots = self.graph.slots
        return [
            Timed(
                layer,
                self.table.entry(layer.shape),
                slots.get((f"{layer.name}.weight", 0 if layer.shape.op == "depthwise" else 1)),
                slots.get((f"{layer.name}.weight", 0)),
            )
            for layer in self.model.layers
        ]

    @cached_property
    def others(self) -> list[tuple[float, Ints | None]]:
        """(ms at full width, the classes of its channels) of all else."""
        by_name = {one.layer.name: one for one in self.timed}
        return [
            (
                self.table.others.get(other.key, 0.0) * other.channels,
                by_name[other.base].outputs if other.base in by_name else None,
            )
            for other in self.model.others
        ]

    def ms(self, keep: Bools | None = None) -> float:
        """Of one inference, at the table's batch."""
        return float(self.correction * (sum(self.by_layer(keep).values()) + self._others_ms(keep)))

    def by_layer(self, keep: Bools | None = None) -> dict[str, float]:
        """Each layer's ms, uncorrected; 0 for one without channels."""
        whole = np.ones(self.graph.classes, dtype=bool) if keep is None else keep
        alive = np.append(whole, True)  # class -1 stays
        return {
            one.layer.name: self.layer_ms(
                one,
                one.layer.inputs if one.inputs is None else int(alive[one.inputs].sum()),
                one.layer.outputs if one.outputs is None else int(alive[one.outputs].sum()),
            )
            for one in self.timed
        }

    def layer_ms(self, one: Timed, inputs: int, outputs: int) -> float:
        """One layer's ms at some width, looked up once."""
        key = (one.entry.shape.key, inputs, outputs)
        if key not in self._known:
            self._known[key] = one.entry.at(inputs, outputs)
        return self._known[key]

    def _others_ms(self, keep: Bools | None) -> float:
        if keep is None:
            return sum(ms for ms, _ in self.others)
        alive = np.append(keep, True)
        return float(sum(ms if vector is None else ms * alive[vector].mean() for ms, vector in self.others))

    def by_widths(self) -> Callable[[Ints], float]:
        """Milliseconds as a function of the groups' widths, for a search that asks often."""
        timed, graph = self.timed, self.graph
        sides = [(one.inputs, one.layer.inputs) for one in timed] + [
            (one.outputs, one.layer.outputs) for one in timed
        ]
        rows = shares([vector for vector, _ in sides], graph)
        base = np.array([full if v is None else (v < 0).sum() for v, full in sides], dtype=np.float64)
        weights = np.array([ms for ms, _ in self.others])
        rest = shares([vector for _, vector in self.others], graph)
        lengths = np.array([1 if v is None else max(1, len(v)) for _, v in self.others], dtype=np.float64)
        still = np.array([1.0 if v is None else (v < 0).sum() for _, v in self.others])

        def total(widths: Ints) -> float:
            kept = np.rint(base + rows @ widths).astype(int).tolist()
            layers = sum(
                self.layer_ms(one, a, b)
                for one, a, b in zip(timed, kept[: len(timed)], kept[len(timed) :], strict=True)
            )
            others = float((weights * (still + rest @ widths) / lengths).sum()) if len(weights) else 0.0
            return self.correction * (layers + others)

        return total

    def steps(self) -> Ints:
        """For each group of coupled channels, the multiple that its widths are best kept at."""
        found = np.ones(len(self.graph.groups), dtype=np.int64)
        group_of = np.append(self.graph.group_of, -1)
        for one in self.timed:
            for axis, vector in (("inputs", one.inputs), ("outputs", one.outputs)):
                for group in np.unique(group_of[vector]) if vector is not None else ():
                    if group >= 0:
                        found[group] = max(found[group], one.entry.steps[axis])
        return found


def shares(vectors: Sequence[Ints | None], graph: Graph) -> Floats:
    """How often a member of each group stands in each vector, shape (vectors, groups)."""
    sizes = np.array([group.size for group in graph.groups], dtype=np.float64)
    out = np.zeros((len(vectors), len(graph.groups)))
    for row, vector in enumerate(vectors):
        if vector is not None and len(vector):
            groups = graph.group_of[vector[vector >= 0]]
            out[row] = np.bincount(groups, minlength=len(sizes)) / sizes
    return out
