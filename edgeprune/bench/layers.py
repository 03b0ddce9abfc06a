"""Compare baseline and pruned model layer by layer, joined by names that both ONNX files have; see graph.py.

Each was timed in a few separate passes, in turn. A layer counts as faster only when its slowest pass in the
pruned model is faster than its fastest in the baseline. With four passes each, 1 in 70 layers of equal speed
is called faster by chance (the ways to choose which four of eight are the fastest), and 1 in 70 slower.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from edgeprune import backends
from edgeprune.backends.base import MODELS
from edgeprune.bench.graph import OnnxGraph, read_graph
from edgeprune.bench.session import Session
from edgeprune.errors import BenchError
from edgeprune.records.bench import LayerRow, LayerTime, LayerTimes

PASSES = 4
MOST_SECONDS = 1.0  # of one pass
TURN = ("baseline", "pruned", "pruned", "baseline")  # so that a steady drift helps neither

# What TensorRT says of a format: "Channel major FP16 format where C % 8 == 0", "Thirty-two wide channel ...".
DIVIDES = re.compile(r"\b(?:C|channel) % (\d+) == 0")
WIDE = {"Two": 2, "Four": 4, "Eight": 8, "Sixteen": 16, "Thirty-two": 32}
IN_GROUPS = re.compile(rf"\b({'|'.join(WIDE)}) wide channel")

Layers = Sequence[dict[str, Any]]


@dataclass
class TimedLayer:
    """One layer of one model, timed in several passes.

    Attributes:
        nodes: labels of the ONNX nodes that it was made from.
        kind: operator or layer type, as the runtime names it.
        ms: its time in each pass, reformats included.
        padded: "13 channels computed as 16", or None.
        reformats: number of changes of format that are made for it.
        reformat_ms: their time in each pass.
    """

    nodes: frozenset[str]
    kind: str | None
    ms: list[float]
    padded: str | None = None
    reformats: int = 0
    reformat_ms: list[float] = field(default_factory=list)

    def join(self, other: "TimedLayer") -> "TimedLayer":
        """Return both as a single layer."""
        return TimedLayer(
            self.nodes | other.nodes,
            self.kind,
            _sum(self.ms, other.ms),
            self.padded or other.padded,
            self.reformats + other.reformats,
            _sum(self.reformat_ms, other.reformat_ms),
        )

    def take(self, copy: "TimedLayer") -> None:
        """Add a change of format that is made for this layer."""
        self.ms = _sum(self.ms, copy.ms)
        self.reformat_ms = _sum(self.reformat_ms, copy.ms)
        self.reformats += 1

    def report(self) -> LayerTime:
        """Return its record; times are the median of the passes, with the lowest and the highest."""
        return LayerTime(
            ms=_middle(self.ms),
            low_ms=min(self.ms),
            high_ms=max(self.ms),
            padded=self.padded,
            reformats=self.reformats,
            reformat_ms=_middle(self.reformat_ms) if self.reformat_ms else 0.0,
        )


def check_layers(session: Session) -> None:
    """Raise BenchError where the runtime does not tell how long single layers take."""
    backend = session.backend
    if backend is not None and not backend.times_layers:
        able = sorted({kind.runtime for kind in map(backends.get, backends.names()) if kind.times_layers})
        raise BenchError(
            f"{backend.title} does not tell how long single layers take: leave `layers` out (those that do: "
            f"{', '.join(able)})"
        )


def measure_layers(session: Session, threads: int) -> LayerTimes:
    """Time the layers of both models, in turn, and compare them; see ``compare_layers``."""
    seconds = min(MOST_SECONDS, session.options.round_seconds)
    passes: dict[str, list[Layers]] = {name: [] for name in MODELS}
    for index in range(2 * PASSES):
        name = TURN[index % len(TURN)]
        session.progress(session.total, session.total, f"{name}: layers, pass {len(passes[name]) + 1}")
        passes[name].append(session.layers(name, threads, seconds))
    graphs = {name: read_graph(session.onnx_file(name)) for name in MODELS}
    parts = {name: merge_passes(passes[name], graphs[name]) for name in MODELS}
    rows = compare_layers(parts["baseline"], parts["pruned"], graphs)
    return LayerTimes(
        passes=PASSES,
        seconds=seconds,
        rows=tuple(rows),
        total_ms={name: sum(_middle(part.ms) for part in parts[name]) for name in MODELS},
        note="timing single layers slows the whole down, so the totals are more than the latency",
    )


def merge_passes(passes: Sequence[Layers], graph: OnnxGraph) -> list[TimedLayer]:
    """Return the layers of one model over its passes; a change of format counts with its layer.

    Args:
        passes: of the model, each with all layers.
        graph: of its ONNX file.
    """
    times = [{layer["name"]: layer["ms"] for layer in pass_ms} for pass_ms in passes]
    parts: list[TimedLayer] = []
    waiting: list[TimedLayer] = []
    targets: list[tuple[TimedLayer, frozenset[str]]] = []
    for layer in passes[0]:
        ms = [pass_ms.get(layer["name"]) for pass_ms in times]
        if any(value is None for value in ms):
            continue
        nodes = graph.nodes_of(layer["name"], layer["kind"], layer["onnx"])
        part = TimedLayer(nodes, layer["kind"], [float(value) for value in ms if value is not None])
        if not layer["reformat"]:
            part.padded = padded(layer, graph.channels_of(nodes))
            for copy in waiting:
                part.take(copy)
            waiting = []
            parts.append(part)
        elif graph.knows(nodes):
            targets.append((part, nodes))
        elif layer["kind"] == "ReorderInput" or not parts:
            waiting.append(part)
        else:
            parts[-1].take(part)
    for copy, nodes in targets:
        owner = next((part for part in parts if part.nodes & nodes), None)
        owner.take(copy) if owner else parts.append(copy)
    return [*parts, *waiting]


def padded(layer: dict[str, Any], real: set[int]) -> str | None:
    """Return what says that more channels are computed than the model has; None where none are known to be.

    Args:
        layer: with the shapes and formats of its outputs.
        real: channels that the ONNX nodes give out; empty where not known.
    """
    forms = [*layer["formats"], *[""] * len(layer["outputs"])]
    for shape, form in zip(layer["outputs"], forms, strict=False):
        if len(shape) < 2:
            continue
        group, channels = group_of(form), shape[1]
        computed = -(-channels // group) * group
        if computed != channels:
            return f"{channels} channels computed as {computed}"
        if real and channels not in real and channels > max(real):
            return f"{max(real)} channels computed as {channels}"
    return None


def group_of(form: str) -> int:
    """Return how many channels are packed together in a TensorRT format; 1 where it does not say."""
    divides, wide = DIVIDES.search(form), IN_GROUPS.search(form)
    if divides:
        return int(divides.group(1))
    return WIDE[wide.group(1)] if wide else 1


def compare_layers(
    baseline: Iterable[TimedLayer],
    pruned: Iterable[TimedLayer],
    graphs: Mapping[str, OnnxGraph] | None = None,
) -> list[LayerRow]:
    """Join the layers of both models that share an ONNX node into rows, and compare each row.

    ``verdict`` is "faster", "slower" or "same" for the pruned model. What only one of them runs is "only in"
    it or, where the other's file among ``graphs`` has such a node too, "fused in" the other: there it is
    computed as a part of another layer, or beforehand.

    Args:
        baseline: its layers.
        pruned: its layers.
        graphs: name -> graph of the ONNX file; None leaves "fused in" out.

    Returns:
        A row for each group of layers, in the order of running.
    """
    sides = [("baseline", part) for part in baseline] + [("pruned", part) for part in pruned]
    rows: list[dict[str, TimedLayer]] = []
    for side, part in sides:
        touching = [row for row in rows if any(part.nodes & other.nodes for other in row.values())]
        merged: dict[str, TimedLayer] = {side: part}
        for row in touching:
            for name, other in row.items():
                merged[name] = other.join(merged[name]) if name in merged else other
        place = rows.index(touching[0]) if touching else len(rows)
        rows = [row for row in rows if row not in touching]
        rows.insert(min(place, len(rows)), merged)
    return [_row(row.get("baseline"), row.get("pruned"), graphs or {}) for row in rows]


def _row(baseline: TimedLayer | None, pruned: TimedLayer | None, graphs: Mapping[str, OnnxGraph]) -> LayerRow:
    present = [part for part in (baseline, pruned) if part is not None]
    nodes = frozenset[str]().union(*(part.nodes for part in present))
    row_verdict = verdict(baseline.ms if baseline else None, pruned.ms if pruned else None)
    missing = "pruned" if pruned is None else "baseline" if baseline is None else ""
    if missing in graphs and graphs[missing].knows(nodes):
        row_verdict = f"fused in {missing}"
    ratio = None
    if baseline is not None and pruned is not None and _middle(pruned.ms) > 0:
        ratio = _middle(baseline.ms) / _middle(pruned.ms)
    return LayerRow(
        onnx=tuple(sorted(nodes)),
        kind=present[0].kind,
        verdict=row_verdict,
        ratio=ratio,
        gained_reformat=(pruned.reformats if pruned else 0) > (baseline.reformats if baseline else 0),
        baseline=baseline.report() if baseline else None,
        pruned=pruned.report() if pruned else None,
    )


def verdict(baseline: Sequence[float] | None, pruned: Sequence[float] | None) -> str:
    """Compare the passes' times; see the top of this file."""
    if baseline is None or pruned is None:
        return f"only in {'pruned' if baseline is None else 'baseline'}"
    if max(pruned) < min(baseline):
        return "faster"
    return "slower" if min(pruned) > max(baseline) else "same"


def _sum(first: Sequence[float], second: Sequence[float]) -> list[float]:
    if not first or not second:
        return [*first, *second]
    return [a + b for a, b in zip(first, second, strict=True)]


def _middle(values: Sequence[float]) -> float:
    return median(values)
