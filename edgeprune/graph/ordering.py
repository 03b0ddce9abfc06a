"""Order the surviving channels so that a remapping pad becomes a slice and a pad, with no gather.

The channels of a class set may be permuted freely as long as everything that touches them permutes
alike. A pad of channels (the CIFAR ResNet's shortcut) ties no channels, so its two sides lose
different ones; listed well, what passes is contiguous on both sides:

    [fed only] [fed and feeding] [feeding only] [the rest]
"""

import numpy as np
from torch import Tensor

from edgeprune.graph import labels as lb
from edgeprune.graph.classes import Bools, Graph, Ints
from edgeprune.graph.flow import Remap
from edgeprune.graph.labels import tensors_in

Orders = dict[bytes, Ints]


def channel_orders(graph: Graph, keep: Bools) -> Orders:
    """Return, for class vectors that remaps touch, the kept indices in the order they are to be written."""
    edges = [(graph.classes_of(r.inputs), graph.classes_of(r.outputs), r) for r in graph.flow.remaps]
    vectors = {v.tobytes(): v for a, b, _ in edges for v in (a, b)}
    free = {key for key, vector in vectors.items() if _permutable(graph, vector)}
    orders: Orders = {key: np.flatnonzero(_kept(vector, keep)) for key, vector in vectors.items()}
    fed = {b.tobytes(): (a.tobytes(), _links(a, b, r, keep)) for a, b, r in edges}
    feeding = {a.tobytes(): (b.tobytes(), _links(a, b, r, keep)) for a, b, r in edges}
    for key in free & fed.keys() & feeding.keys():
        inside, outside = set(fed[key][1].values()), set(feeding[key][1])
        orders[key] = _sorted(orders[key], lambda i, a=inside, b=outside: (_rank(i in a, i in b), i))
    for key in (free & feeding.keys()) - fed.keys():
        target, links = feeding[key]
        place = _places(orders[target])
        orders[key] = _sorted(
            orders[key], lambda i, m=links, p=place: (i not in m, p.get(m.get(i, -1), 0), i)
        )
    for key in (free & fed.keys()) - feeding.keys():
        source, links = fed[key]
        back = {out: into for into, out in links.items()}
        place = _places(orders[source])
        orders[key] = _sorted(orders[key], lambda i, m=back, p=place: (i not in m, p.get(m.get(i, -1), 0), i))
    return {key: order for key, order in orders.items() if key in free}


def _kept(vector: Ints, keep: Bools) -> Bools:
    return np.append(keep, True)[vector]  # class -1 stays


def _links(a: Ints, b: Ints, remap: Remap, keep: Bools) -> dict[int, int]:
    """Input index -> output index, where both sides stay."""
    kept_a, kept_b = _kept(a, keep), _kept(b, keep)
    pairs = enumerate(remap.source.tolist())
    return {int(s): i for i, s in pairs if s >= 0 and kept_b[i] and kept_a[s]}


def _rank(fed: bool, feeding: bool) -> int:
    return {(True, False): 0, (True, True): 1, (False, True): 2, (False, False): 3}[fed, feeding]


def _places(order: Ints) -> dict[int, int]:
    return {int(index): place for place, index in enumerate(order)}


def _sorted(order: Ints, key: object) -> Ints:
    return np.array(sorted(order.tolist(), key=key), dtype=np.int64)  # type: ignore[call-overload]


def _permutable(graph: Graph, vector: Ints) -> bool:
    """Tell whether every axis that carries one of these classes carries exactly this vector."""
    if (vector < 0).any() or len(np.unique(vector)) != len(vector):
        return False
    members = np.zeros(graph.classes + 1, dtype=bool)
    members[vector] = True
    for other in graph.param_axes.values():
        if members[other].any() and not np.array_equal(other, vector):
            return False
    return all(
        _carries(graph, tensor, vector, members)
        for flow in graph.flows
        for v in flow.values.values()
        for tensor in tensors_in(v)
    )


def _carries(graph: Graph, labels: Tensor, vector: Ints, members: Bools) -> bool:
    small = lb.core(labels)
    classes = graph.class_of[small.numpy()]
    if not members[classes].any():
        return True
    wide = [axis for axis, size in enumerate(small.shape) if size > 1]
    return len(wide) == 1 and np.array_equal(classes.reshape(-1), vector)
