"""Predict the latency of a keep-plan on a device from its table."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeprune.graph.classes import Bools, Graph
from edgeprune.latency.shapes import DEPTHWISE, Model, ModelLayer
from edgeprune.latency.table import Entry, Table

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Timed:
    """One layer of a traced model: its entry in the table, and where its channels come from.

    Attributes:
        layer: of the ONNX file.
        entry: times by channels.
        inputs, outputs: the class of each channel, -1 where it is always kept; None where the graph does not
            know the layer, which then never changes.
    """

    layer: ModelLayer
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
        correction: factor on the table's sum, once the latency has been measured end to end.
    """

    graph: Graph
    model: Model
    table: Table
    correction: float = 1.0
    _known: dict[tuple[int, int, int], float] = field(default_factory=dict)

    @cached_property
    def timed(self) -> list[Timed]:
        """List every layer; the channels of one that was pruned before are the graph's."""
        return [
            Timed(layer, self.entry_of(layer), *self.channels_of(layer.name)) for layer in self.model.layers
        ]

    def entry_of(self, layer: ModelLayer) -> Entry:
        """Return the entry of the table that has a layer's times."""
        return self.table.entry(layer.shape)

    def channels_of(self, name: str) -> tuple[Ints | None, Ints | None]:
        """Return the classes of a layer's input and output channels; None where the graph does not know it."""
        param_axes, layer = self.graph.param_axes, self._by_name[name]
        first = param_axes.get((f"{name}.weight", 0 if layer.shape.op == DEPTHWISE else 1))
        return first, param_axes.get((f"{name}.weight", 0))

    @cached_property
    def _by_name(self) -> dict[str, ModelLayer]:
        return {layer.name: layer for layer in self.model.layers}

    @cached_property
    def others(self) -> list[tuple[float, Ints | None]]:
        """List (ms at the graph's widths, the classes of its channels) of everything but layers."""
        by_name = {timed.layer.name: timed for timed in self.timed}
        others: list[tuple[float, Ints | None]] = []
        for other in self.model.others:
            ms, base = self.table.others.get(other.key, 0.0) * other.channels, by_name.get(other.base)
            vector = None if base is None else base.outputs
            if base is not None and vector is not None:
                ms *= len(vector) / base.layer.outputs
            others.append((ms, vector))
        return others

    def ms(self, keep: Bools | None = None) -> float:
        """Return the latency of one inference at the table's batch, ms."""
        return float(self.correction * (sum(self.by_layer(keep).values()) + self._others_ms(keep)))

    def by_layer(self, keep: Bools | None = None) -> dict[str, float]:
        """Return each layer's ms, uncorrected; 0 for one without channels."""
        keep_mask = np.ones(self.graph.classes, dtype=bool) if keep is None else keep
        alive = np.append(keep_mask, True)  # class -1 stays
        return {
            timed.layer.name: self.layer_ms(
                timed,
                timed.layer.inputs if timed.inputs is None else int(alive[timed.inputs].sum()),
                timed.layer.outputs if timed.outputs is None else int(alive[timed.outputs].sum()),
            )
            for timed in self.timed
        }

    def layer_ms(self, timed: Timed, inputs: int, outputs: int) -> float:
        """Return one layer's ms at some width; cached.

        Args:
            timed: the layer.
            inputs: channels.
            outputs: channels.
        """
        key = (id(timed.entry), inputs, outputs)
        if key not in self._known:
            self._known[key] = timed.entry.at(inputs, outputs)
        return self._known[key]

    def _others_ms(self, keep: Bools | None) -> float:
        if keep is None:
            return sum(ms for ms, _ in self.others)
        alive = np.append(keep, True)
        return float(sum(ms if vector is None else ms * alive[vector].mean() for ms, vector in self.others))

    def by_widths(self) -> "MsByWidths":
        """Return the latency as a function of the groups' widths, for a search that evaluates it often."""
        return MsByWidths(self)

    def steps(self) -> Ints:
        """Return for each group of coupled channels the multiple that its widths are best kept at."""
        steps = np.ones(len(self.graph.groups), dtype=np.int64)
        group_of = np.append(self.graph.group_of, -1)
        for timed in self.timed:
            for axis, vector in (("inputs", timed.inputs), ("outputs", timed.outputs)):
                for group in np.unique(group_of[vector]) if vector is not None else ():
                    if group >= 0:
                        steps[group] = max(steps[group], timed.entry.steps[axis])
        return steps


class MsByWidths:
    """Predicted milliseconds as a function of the groups' widths.

    A layer's width is its unprunable part and a share of each group's; a group affects only the few layers that
    write or read it, so that a change of one is cheap to evaluate.
    """

    def __init__(self, model: LatencyModel) -> None:
        self.model, timed = model, model.timed
        self.sides = [
            _Side.of(vector, full, rows)
            for timed_layer in timed
            for vector, full in (
                (timed_layer.inputs, timed_layer.layer.inputs),
                (timed_layer.outputs, timed_layer.layer.outputs),
            )
            for rows in [group_shares([vector], model.graph)[0]]
        ]
        self.near: list[list[int]] = [[] for _ in model.graph.groups]
        for number in range(len(timed)):
            for group in {g for side in self.sides[2 * number : 2 * number + 2] for g, _ in side.groups}:
                self.near[group].append(number)
        weights = np.array([ms for ms, _ in model.others])
        lengths = np.array([1 if v is None else max(1, len(v)) for _, v in model.others], dtype=np.float64)
        still = np.array([1.0 if v is None else (v < 0).sum() for _, v in model.others])
        rows = group_shares([vector for _, vector in model.others], model.graph)
        self.still = float((weights * still / lengths).sum()) if len(weights) else 0.0
        self.slope = (weights / lengths) @ rows if len(weights) else np.zeros(len(model.graph.groups))
        self.slopes: list[float] = self.slope.tolist()
        self._start = _Start(b"", [], {})

    def __call__(self, widths: Ints) -> float:
        """Return the latency at these widths, ms."""
        counts = widths.tolist()
        layers = sum(self._layer(number, counts) for number in range(len(self.model.timed)))
        return self.model.correction * (layers + self.still + float(self.slope @ widths))

    def moved(self, widths: Ints, before: float, groups: tuple[int, ...], to: tuple[int, ...]) -> float:
        """Return the latency after some groups change their width.

        Many moves start from the same widths, at which each layer is looked up once.

        Args:
            widths: (groups,) channels of each group.
            before: the latency there, ms.
            groups: that change.
            to: their new widths.
        """
        start = self._start_at(widths)
        new = list(start.counts)
        change = 0.0
        for group, width in zip(groups, to, strict=True):
            new[group] = width
            change += self.slopes[group] * (width - start.counts[group])
        for number in {number for group in groups for number in self.near[group]}:
            if number not in start.layers:
                start.layers[number] = self._layer(number, start.counts)
            change += self._layer(number, new) - start.layers[number]
        return before + self.model.correction * change

    def _start_at(self, widths: Ints) -> "_Start":
        key = widths.tobytes()
        if self._start.key != key:
            self._start = _Start(key, widths.tolist(), {})
        return self._start

    def _layer(self, number: int, counts: list[int]) -> float:
        inputs, outputs = self.sides[2 * number].width(counts), self.sides[2 * number + 1].width(counts)
        return self.model.layer_ms(self.model.timed[number], inputs, outputs)


class _Start(NamedTuple):
    """Widths from which moves start: their bytes, as a list, and the ms of the layers that were looked up."""

    key: bytes
    counts: list[int]
    layers: dict[int, float]


@dataclass(frozen=True)
class _Side:
    """A layer's width on one side: its unprunable part, and how much of each group it contains."""

    base: int
    groups: tuple[tuple[int, float], ...]

    @classmethod
    def of(cls, vector: Ints | None, full: int, rows: Floats) -> "_Side":
        base = full if vector is None else int((vector < 0).sum())
        return cls(base, tuple((int(g), float(rows[g])) for g in np.flatnonzero(rows)))

    def width(self, counts: list[int]) -> int:
        if len(self.groups) == 1:  # most layers
            ((group, share),) = self.groups
            return self.base + round(share * counts[group])
        return self.base + round(sum(share * counts[group] for group, share in self.groups))


def group_shares(vectors: Sequence[Ints | None], graph: Graph) -> Floats:
    """Return how often a member of each group occurs in each vector, shape (vectors, groups)."""
    sizes = np.array([group.size for group in graph.groups], dtype=np.float64)
    out = np.zeros((len(vectors), len(graph.groups)))
    for row, vector in enumerate(vectors):
        if vector is not None and len(vector):
            groups = graph.group_of[vector[vector >= 0]]
            out[row] = np.bincount(groups, minlength=len(sizes)) / sizes
    return out
