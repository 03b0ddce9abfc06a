"""What the channels that stay cost: parameters, FLOPs as fvcore counts them, and memory."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch.fx as fx
from numpy.typing import NDArray
from scipy import sparse

from edgeprune.graph.flow import Flow
from edgeprune.graph.labels import core, tensors_in, vector_along
from edgeprune.graph.memory import BYTES, buffers_of
from edgeprune.graph.nodes import layer_name, parameters_of
from edgeprune.recording.record import Record
from edgeprune.recording.walks import named_parameters

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Row = tuple[float, list[int], tuple[fx.Node, ...]]


@dataclass
class Parts:
    """Costs as products of kept lengths: ``coefficients * prod(kept[axes], 1)``.

    ``axes`` has one row for each cost, filled up with the index of a length that is always 1. A cost
    counts while one of its ``nodes`` still works. ``alive`` has a row for each moment at which only some of
    the first costs are there at once, and the highest moment counts; costs beyond its columns always add up.
    """

    coefficients: Floats
    axes: Ints
    nodes: list[tuple[fx.Node, ...]]
    alive: sparse.csr_matrix | None = None

    def each(self, kept: Floats) -> Floats:
        """Return every cost by itself."""
        return np.asarray(self.coefficients * kept[self.axes].prod(1))

    def total(self, each: Floats) -> float:
        """Return the sum of the costs; of those with a lifetime, the highest sum at any moment."""
        if self.alive is None:
            return float(each.sum())
        passing = self.alive.shape[1]
        return float((self.alive @ each[:passing]).max(initial=0.0) + each[passing:].sum())

    def slope(self, kept: Floats) -> Floats:
        """Derivative of the total by each length."""
        factors, out = kept[self.axes], np.zeros(len(kept))
        for place in range(self.axes.shape[1]):
            others = np.delete(factors, place, axis=1).prod(1)
            np.add.at(out, self.axes[:, place], self.coefficients * others)
        return out


@dataclass
class CostModel:
    """Lengths of the distinct class vectors (``base + counts @ keep``), and the costs made of them.

    ``shown`` has a row for each distinct set of classes that some tensor consists of.
    """

    base: Floats
    counts: sparse.csr_matrix
    parts: dict[str, Parts]
    shown: sparse.csr_matrix

    @classmethod
    def build(
        cls,
        module: fx.GraphModule | Record,
        flow: Flow,
        param_axes: dict[tuple[str, int], Ints],
        class_of: Ints,
        classes: int,
        *,
        memory: bool = True,
    ) -> "CostModel":
        """Collect the axes of every parameter and every operation.

        Args:
            module: the record or graph module.
            flow: its labels.
            param_axes: class vector of each indexed axis, by (tensor, axis).
            class_of: class of each label, -1 where it is always kept.
            classes: number of classes.
            memory: whether to reckon memory too.
        """
        table = _Axes(classes)
        users = _users(flow)
        params: list[Row] = []
        model = module.model if isinstance(module, Record) else module
        for name, tensor in named_parameters(model).items():
            axes = [table.index(param_axes.get((name, axis)), size) for axis, size in enumerate(tensor.shape)]
            params.append((1.0, axes, tuple(users[name])))
        flops: list[Row] = []
        for cost in flow.costs:
            axes = [table.index(class_of[vector.numpy()], len(vector)) for vector in cost.axes]
            flops.append((cost.coefficient, axes, (cost.node,)))
        for consumer in flow.consumers:
            table.index(class_of[consumer.labels.numpy()], len(consumer.labels))
        held, alive = _memory(flow, class_of, table) if memory else ([], None)
        base, counts = table.matrix()
        parts = {"params": _packed(params, len(base)), "flops": _packed(flops, len(base))}
        if memory:
            weights = [(BYTES * coefficient, axes, nodes) for coefficient, axes, nodes in params]
            parts["memory"] = _packed([*held, *weights], len(base))
            parts["memory"].alive = alive
        return cls(base, counts, parts, _shown(flow, class_of, classes))

    @cached_property
    def columns(self) -> sparse.csc_matrix:
        """``counts`` by class."""
        return self.counts.tocsc()

    def kept(self, keep: Floats) -> Floats:
        """Kept lengths; the last is the always-1 that fills rows up."""
        return np.append(self.base + self.counts @ keep, 1.0)

    def everything(self, kind: str) -> float:
        """Return parameters, FLOPs or bytes of the unpruned model."""
        parts = self.parts[kind]
        return parts.total(parts.each(self.kept(np.ones(self.counts.shape[1]))))

    def nonempty_total(self, kind: str, keep: Floats) -> float | None:
        """Return parameters, FLOPs or bytes at ``keep``; None if a tensor or an axis loses all its channels.

        Entire operations may then be dropped, which a product of lengths does not show.
        """
        kept = self.kept(keep)
        if (kept == 0).any() or (self.shown @ keep == 0).any():
            return None
        return self.parts[kind].total(self.parts[kind].each(kept))

    def total(self, kind: str, keep: Floats, working: set[fx.Node]) -> float:
        """Return parameters, FLOPs or bytes at ``keep``, of the ``working`` nodes alone.

        Args:
            kind: 'params', 'flops' or 'memory'.
            keep: a number for each class: 1 kept, 0 pruned.
            working: the nodes that are still computed.
        """
        parts = self.parts[kind]
        each = parts.each(self.kept(keep))
        return parts.total(each * [not nodes or any(n in working for n in nodes) for nodes in parts.nodes])

    def by_widths(self, kind: str, group_of: Ints) -> "ByWidths":
        """Return the total as a function of how many classes each group keeps, whichever they are."""
        groups = int(group_of.max(initial=-1)) + 1
        sizes = np.bincount(group_of, minlength=groups)
        places = np.arange(len(group_of)), group_of
        member = sparse.csr_matrix((1 / sizes[group_of], places), shape=(len(group_of), len(sizes)))
        rows = np.asarray((self.counts @ member).todense()).reshape(len(self.base), groups)
        return ByWidths(self.parts[kind], self.base, rows)

    def by_node(self, keep: Floats) -> dict[str, float]:
        """Return FLOPs at ``keep``, summed by layer."""
        out: dict[str, float] = defaultdict(float)
        parts = self.parts["flops"]
        for (node, *_), value in zip(parts.nodes, parts.each(self.kept(keep)).tolist(), strict=True):
            out[layer_name(node)] += value
        return dict(out)

    def gradient(self, keep: Floats, kind: str) -> Floats:
        """Derivative of the total by each class's presence."""
        return np.asarray(self.counts.T @ self.parts[kind].slope(self.kept(keep))[:-1])


class ByWidths:
    """One cost as a function of the groups' widths; what an empty group takes with it is not looked at."""

    def __init__(self, parts: Parts, base: Floats, rows: Floats) -> None:
        self.parts, self.base, self.rows = parts, base, rows
        touched = np.vstack([rows != 0, np.zeros((1, rows.shape[1]), dtype=bool)])
        self._near = [np.flatnonzero(touched[parts.axes, g].any(1)) for g in range(rows.shape[1])]

    def __call__(self, widths: Ints) -> float:
        """Return the cost at these widths."""
        return self.parts.total(self._each(slice(None), widths))

    def moved(self, widths: Ints, before: float, groups: tuple[int, ...], to: tuple[int, ...]) -> float:
        """Return the cost after some groups change their widths.

        Args:
            widths: the groups' widths before.
            before: the cost at those.
            groups: the groups that change.
            to: their new widths.
        """
        after = widths.copy()
        after[list(groups)] = to
        if self.parts.alive is not None:
            return self(after)
        near = np.unique(np.concatenate([self._near[g] for g in groups]))
        return before + float((self._each(near, after) - self._each(near, widths)).sum())

    def _each(self, which: Ints | slice, widths: Ints) -> Floats:
        kept = np.append(self.base + self.rows @ widths, 1.0)
        return np.asarray(self.parts.coefficients[which] * kept[self.parts.axes[which]].prod(1))


class IncrementalCost:
    """The costs of a keep-set that grows: adding classes costs no more than the axes they stand in.

    For keep-sets that leave no axis empty; what an empty one takes with it is not looked at.
    """

    def __init__(self, model: CostModel, kinds: Iterable[str], keep: Floats) -> None:
        self._parts = {kind: model.parts[kind] for kind in kinds}
        self._columns, self._kept = model.columns, model.kept(keep)

    def after(self, classes: Ints) -> tuple[dict[str, float], Floats]:
        """Return the costs with ``classes`` added, and the lengths to pass to `take`."""
        starts, kept = self._columns.indptr, self._kept.copy()
        for c in classes:
            rows = slice(starts[c], starts[c + 1])
            kept[self._columns.indices[rows]] += self._columns.data[rows]
        return {kind: parts.total(parts.each(kept)) for kind, parts in self._parts.items()}, kept

    def take(self, kept: Floats) -> None:
        """Go on from there."""
        self._kept = kept


def _shown(flow: Flow, class_of: Ints, classes: int) -> sparse.csr_matrix:
    """Return the classes of each tensor without protected channels, a row for each set."""
    sets: dict[bytes, Ints] = {}
    vectors = {id(labels): labels for value in flow.values.values() for labels in tensors_in(value)}
    contents = {class_of[core(labels).numpy()].tobytes() for labels in vectors.values()}
    for vector in (np.frombuffer(content, dtype=np.int64) for content in contents):
        if len(vector) and vector.min() >= 0:
            members = np.sort(vector)
            members = members[np.append(True, members[1:] != members[:-1])]
            sets.setdefault(members.tobytes(), members)
    rows = np.concatenate([np.full(len(v), i) for i, v in enumerate(sets.values())] or [np.zeros(0)])
    columns = np.concatenate([*sets.values(), np.zeros(0, dtype=np.int64)])
    return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(sets), classes))


def _memory(flow: Flow, class_of: Ints, table: "_Axes") -> tuple[list[Row], sparse.csr_matrix]:
    """Return the bytes of each activation, and which of them are alive at the same time."""
    buffers = buffers_of(flow)
    rows: list[Row] = []
    for buffer in buffers:
        shape, small = buffer.labels.shape, core(buffer.labels)
        wide = [axis for axis, size in enumerate(small.shape) if size > 1]
        vector = vector_along(buffer.labels, wide[0]) if len(wide) == 1 else None
        # Where channels run along several axes at once, the whole tensor counts, whatever stays of it.
        rest = shape.numel() if vector is None else shape.numel() // len(vector)
        axes = [] if vector is None else [table.index(class_of[vector.numpy()], len(vector))]
        rows.append((float(BYTES * rest), axes, (buffer.node,)))
    return rows, _alive([(buffer.first, buffer.last) for buffer in buffers])


def _alive(spans: list[tuple[int, int]]) -> sparse.csr_matrix:
    """(moments, spans): 1 where a span holds a moment, which is where one begins."""
    moments = np.unique(np.array([first for first, _ in spans], dtype=np.int64))
    begins = np.searchsorted(moments, [first for first, _ in spans])
    ends = np.searchsorted(moments, [last for _, last in spans], side="right")
    rows = [np.arange(begin, end) for begin, end in zip(begins, ends, strict=True)]
    columns = np.repeat(np.arange(len(spans)), [len(held) for held in rows])
    entries = (np.ones(len(columns)), (np.concatenate([*rows, np.zeros(0, dtype=np.int64)]), columns))
    return sparse.csr_matrix(entries, shape=(len(moments), len(spans)))


def _packed(rows: list[Row], filler: int) -> Parts:
    width = max([len(axes) for _, axes, _ in rows], default=1)
    axes = np.full((len(rows), max(width, 1)), filler, dtype=np.int64)
    for place, (_, row, _) in enumerate(rows):
        axes[place, : len(row)] = row
    return Parts(np.array([c for c, _, _ in rows], dtype=np.float64), axes, [nodes for _, _, nodes in rows])


def _users(flow: Flow) -> dict[str, list[fx.Node]]:
    """Return the nodes that use each parameter, by its canonical name."""
    users: dict[str, list[fx.Node]] = defaultdict(list)
    for node in flow.module.graph.nodes:
        if node in flow.layers:
            for tensor in parameters_of(flow.layers[node]):
                users[str(flow.names.of(tensor))].append(node)
        elif flow.names.read_by(node) is not None:
            users[str(flow.names.read_by(node))].append(node)
    return users


class _Axes:
    """Distinct class vectors, as rows of a sparse count matrix."""

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._rows: dict[bytes, int] = {}
        self._vectors: list[Ints] = []

    def index(self, vector: Ints | None, size: int) -> int:
        vector = np.full(size, -1, dtype=np.int64) if vector is None else vector
        row = self._rows.setdefault(vector.tobytes(), len(self._vectors))
        if row == len(self._vectors):
            self._vectors.append(vector)
        return row

    def matrix(self) -> tuple[Floats, sparse.csr_matrix]:
        base = np.array([float((v < 0).sum()) for v in self._vectors])
        rows = np.concatenate(
            [np.full((v >= 0).sum(), i) for i, v in enumerate(self._vectors)] or [np.zeros(0)]
        )
        columns = np.concatenate([v[v >= 0] for v in self._vectors] or [np.zeros(0, int)])
        shape = (len(self._vectors), self._classes)
        return base, sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)
