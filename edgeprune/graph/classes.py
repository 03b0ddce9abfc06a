"""Classes of coupled channels: what one keep-or-drop decision takes with it, and what it saves."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch.fx as fx
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn

from edgeprune.errors import PlanError, TraceError
from edgeprune.graph.flow import Flow, layer_name
from edgeprune.graph.rules import apply_rule
from edgeprune.graph.trace import VALUE, trace

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class ChannelGroup:
    """Classes that live in the same layers: a residual stream, or the inside of one block.

    ``classes`` are indices into a keep-vector; ``producers`` write these channels, ``readers`` mix them;
    ``floor`` is the least number of classes that may stay.
    """

    index: int
    name: str
    classes: Ints
    producers: tuple[str, ...]
    readers: tuple[str, ...]

    @property
    def size(self) -> int:
        """Number of decisions (channels, or sets of them) in this group."""
        return len(self.classes)


@dataclass(frozen=True)
class Protected:
    """Channels that are never removed, and why."""

    layers: tuple[str, ...]
    channels: int
    reason: str
    where: str


@dataclass
class Graph:
    """A traced model with its classes of coupled channels.

    ``slots[(tensor, axis)][i]`` is the class of index i along that axis, or -1 where it always stays.
    FLOPs are multiply-adds as fvcore counts them, for the example input, batch included.
    """

    module: fx.GraphModule
    flow: Flow
    inputs: tuple[Tensor, ...]
    class_of: Ints
    slots: dict[tuple[str, int], Ints]
    groups: list[ChannelGroup]
    protected: list[Protected]
    _parts: list[tuple[float, tuple[int, ...]]] = field(default_factory=list)

    @property
    def classes(self) -> int:
        """How many decisions there are."""
        return int(self.class_of.max(initial=-1)) + 1

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the structure: a keep-plan made for one graph fits another with the same."""
        digest = hashlib.sha256()
        for (name, axis), vector in sorted(self.slots.items()):
            digest.update(f"{name}/{axis}/".encode() + vector.astype("<i8").tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def group_of(self) -> Ints:
        """Group index of each class."""
        out = np.full(self.classes, -1, dtype=np.int64)
        for group in self.groups:
            out[group.classes] = group.index
        return out

    @cached_property
    def _cost(self) -> "CostModel":
        return CostModel.build(self)

    def params(self, keep: Bools | None = None) -> int:
        """Number of parameters (buffers not counted) when ``keep[class]`` channels stay."""
        return round(self._cost.params(self.checked(keep)))

    def flops(self, keep: Bools | None = None) -> int:
        """FLOPs when ``keep[class]`` channels stay."""
        return round(self._cost.flops(self.checked(keep)))

    def marginal_flops(self, keep: Bools | None = None) -> NDArray[np.float64]:
        """d FLOPs / d class at ``keep``: what one class saves, first order."""
        return self._cost.gradient(self.checked(keep), "flops")

    def marginal_params(self, keep: Bools | None = None) -> NDArray[np.float64]:
        """d parameters / d class at ``keep``."""
        return self._cost.gradient(self.checked(keep), "params")

    def node_flops(self, keep: Bools | None = None) -> dict[str, float]:
        """FLOPs by layer name."""
        return self._cost.by_node(self.checked(keep))

    def checked(self, keep: Bools | None) -> NDArray[np.float64]:
        """``keep`` as floats; all ones when None. Raises PlanError on another length."""
        if keep is None:
            return np.ones(self.classes)
        if len(keep) != self.classes:
            raise PlanError(f"this plan has {len(keep)} classes, the model {self.classes}: it is another model's plan")
        return np.asarray(keep, dtype=np.float64)

    def labels(self, node: fx.Node) -> object:
        """Label tensor(s) of a node."""
        return self.flow.values[node]

    def classes_of(self, vector: Tensor) -> Ints:
        """Class of each label of a vector, -1 where it always stays."""
        return self.class_of[vector.numpy()]


@dataclass
class CostModel:
    """Costs as products of kept lengths: ``coefficient * prod(kept[axis] for axis in axes)``."""

    base: NDArray[np.float64]
    counts: sparse.csr_matrix
    parts: dict[str, list[tuple[float, tuple[int, ...]]]]
    nodes: list[str]

    @classmethod
    def build(cls, graph: Graph) -> "CostModel":
        """Collect the axes of every parameter and every operation."""
        table = _Axes(graph.classes)
        params = []
        for name, tensor in graph.module.named_parameters():
            axes = [table.index(graph.slots.get((name, axis)), size) for axis, size in enumerate(tensor.shape)]
            params.append((1.0, tuple(axes)))
        flops, nodes = [], []
        for cost in graph.flow.costs:
            axes = [table.index(graph.classes_of(vector), len(vector)) for vector in cost.axes]
            flops.append((cost.coefficient, tuple(axes)))
            nodes.append(layer_name(cost.node))
        base, counts = table.matrix()
        return cls(base, counts, {"params": params, "flops": flops}, nodes)

    def _kept(self, keep: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.base + self.counts @ keep

    def params(self, keep: NDArray[np.float64]) -> float:
        """Parameters at ``keep``."""
        return self._total("params", keep)

    def flops(self, keep: NDArray[np.float64]) -> float:
        """FLOPs at ``keep``."""
        return self._total("flops", keep)

    def _total(self, kind: str, keep: NDArray[np.float64]) -> float:
        kept = self._kept(keep)
        return float(sum(c * np.prod(kept[list(axes)]) for c, axes in self.parts[kind]))

    def by_node(self, keep: NDArray[np.float64]) -> dict[str, float]:
        """FLOPs at ``keep``, summed by layer."""
        kept = self._kept(keep)
        out: dict[str, float] = defaultdict(float)
        for name, (coefficient, axes) in zip(self.nodes, self.parts["flops"], strict=True):
            out[name] += float(coefficient * np.prod(kept[list(axes)]))
        return dict(out)

    def gradient(self, keep: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
        """Derivative of the total by each class's presence."""
        kept = self._kept(keep)
        slope = np.zeros(len(kept))
        for coefficient, axes in self.parts[kind]:
            for place, axis in enumerate(axes):
                others = [kept[a] for i, a in enumerate(axes) if i != place]
                slope[axis] += coefficient * float(np.prod(others))
        return np.asarray(self.counts.T @ slope)


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

    def matrix(self) -> tuple[NDArray[np.float64], sparse.csr_matrix]:
        base = np.array([float((v < 0).sum()) for v in self._vectors])
        rows = np.concatenate([np.full((v >= 0).sum(), i) for i, v in enumerate(self._vectors)] or [np.zeros(0)])
        columns = np.concatenate([v[v >= 0] for v in self._vectors] or [np.zeros(0)])
        shape = (len(self._vectors), self._classes)
        return base, sparse.csr_matrix((np.ones(len(rows)), (rows.astype(int), columns.astype(int))), shape=shape)


def build_graph(model: nn.Module, inputs: Tensor | tuple[Tensor, ...], ignore: Iterable[str] = ()) -> Graph:
    """Trace ``model`` on ``inputs`` and find its classes of coupled channels.

    Args:
        model: any module that torch.fx can trace; it is not changed.
        inputs: one example tensor, or a tuple with one for each argument of forward.
        ignore: names (or prefixes) of layers whose output channels must all stay.

    Raises:
        TraceError: the model cannot be traced or does not run on ``inputs``.
    """
    inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    module = trace(model, inputs)
    flow = Flow(module).run(apply_rule)
    _ignore(flow, tuple(ignore))
    component = _components(flow)
    component = _settle_attributes(flow, component)
    class_of, component_class = _number(flow, component)
    slots = {key: class_of[vector.numpy()] for key, vector in flow.slots.items()}
    groups = _groups(flow, slots, int(class_of.max(initial=-1)) + 1)
    return Graph(module, flow, inputs, class_of, slots, groups, _protected(flow, component, slots, component_class))


def _ignore(flow: Flow, names: tuple[str, ...]) -> None:
    nodes = {str(node.target): node for node in flow.module.graph.nodes if node.op == "call_module"}
    for name in names:
        found = [n for n in nodes if n == name or n.startswith(name + ".")]
        if not found:
            raise TraceError(f"no layer {name!r} to ignore; layers are {', '.join(list(nodes)[:12])}, ...")
        for layer in found:
            for tensor, axis in flow.outputs.items():
                if tensor.rsplit(".", 1)[0] == layer:
                    flow.protect(flow.slots[tensor, axis], "on the ignore list", nodes[layer])


def _components(flow: Flow) -> Ints:
    if not flow.ties:
        return np.arange(flow.count)
    rows = np.concatenate([a.numpy() for a, _ in flow.ties])
    columns = np.concatenate([b.numpy() for _, b in flow.ties])
    matrix = sparse.coo_matrix((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(flow.count, flow.count))
    return connected_components(matrix, directed=False)[1].astype(np.int64)


def _settle_attributes(flow: Flow, component: Ints) -> Ints:
    """Give parameters used pointwise their slots; protect those that no single axis carries."""
    used = set()
    for vector in flow.slots.values():
        used.update(component[vector.numpy()].tolist())
    for name, labels in flow.attributes.items():
        classes = component[labels.numpy()]
        wide = [axis for axis in range(labels.dim()) if labels.shape[axis] > 1]
        carried = [a for a in wide if (classes == classes.take([0], axis=_other(wide, a, labels.dim()))).all()]
        node = next(n for n in flow.module.graph.nodes if flow.attribute(n) == name)
        if len(wide) == 1 or len(carried) == 1:
            axis = carried[0] if carried else wide[0]
            flow.slots[name, axis] = labels.movedim(axis, 0).reshape(labels.shape[axis], -1)[:, 0].clone()
        elif wide and used.intersection(np.unique(classes).tolist()):
            flow.protect(labels, "a parameter whose axes mix channels and positions", node)
    return component


def _other(wide: list[int], axis: int, dims: int) -> int:
    """Some wide axis other than ``axis``: classes must not change along it for ``axis`` to carry them."""
    return next((a for a in wide if a != axis), axis if dims else 0)


def _number(flow: Flow, component: Ints) -> tuple[Ints, Ints]:
    """Class index by label and by component; -1 for what is protected, constant or has no slot."""
    free = np.zeros(component.max() + 1, dtype=bool)
    for vector in flow.slots.values():
        free[component[vector.numpy()]] = True
    for labels, _, _ in flow.protections:
        free[component[labels.numpy()]] = False
    free[component[0]] = False
    order: dict[int, None] = {}
    for vector in flow.slots.values():
        order.update(dict.fromkeys(c for c in component[vector.numpy()].tolist() if free[c]))
    component_class = np.full(len(free), -1, dtype=np.int64)
    component_class[list(order)] = np.arange(len(order))
    return component_class[component], component_class


def _groups(flow: Flow, slots: dict[tuple[str, int], Ints], classes: int) -> list[ChannelGroup]:
    """Classes with the same set of slots form one group."""
    where: list[list[int]] = [[] for _ in range(classes)]
    keys = list(slots)
    for index, key in enumerate(keys):
        for item in np.unique(slots[key]):
            if item >= 0:
                where[item].append(index)
    grouped: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for item, places in enumerate(where):
        grouped[tuple(places)].append(item)
    read = {reader.weight for reader in flow.readers}
    groups = []
    for index, (places, members) in enumerate(grouped.items()):
        made = [keys[p][0] for p in places if flow.outputs.get(keys[p][0]) == keys[p][1]]
        mixed = [keys[p][0] for p in places if keys[p][0] in read and flow.outputs.get(keys[p][0]) != keys[p][1]]
        names = tuple(name.rsplit(".", 1)[0] for name in made)
        label = names[0] if names else keys[places[0]][0]
        readers = tuple(name.rsplit(".", 1)[0] for name in mixed)
        groups.append(ChannelGroup(index, label, np.array(members), names, readers))
    return groups


def _protected(
    flow: Flow, component: Ints, slots: dict[tuple[str, int], Ints], component_class: Ints
) -> list[Protected]:
    """Which layers' output channels stay for which reason; the first reason given counts."""
    made = {name: component[flow.slots[name, axis].numpy()] for name, axis in flow.outputs.items()}
    found: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    explained: dict[str, set[int]] = defaultdict(set)
    for labels, reason, where in flow.protections:
        hit = set(component[labels.numpy()].tolist())
        for name, components in made.items():
            mine = {int(c) for c in components if int(c) in hit} - explained[name]
            if mine:
                explained[name] |= mine
                count = int(sum(int(c) in mine for c in components))
                found[reason, where][name.rsplit(".", 1)[0]] = count
    return [
        Protected(tuple(layers), sum(layers.values()), reason, where) for (reason, where), layers in found.items()
    ]


def example_shapes(graph: Graph) -> list[tuple[int, ...]]:
    """Shapes of the inputs the graph was traced on."""
    return [tuple(n.meta[VALUE].shape) for n in graph.module.graph.nodes if n.op == "placeholder"]
