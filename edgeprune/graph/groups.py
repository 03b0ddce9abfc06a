"""From labels to decisions: which are tied into one class, which classes share layers, and what is protected."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from edgeprune.graph.computed import layer_of
from edgeprune.graph.cost import Bools, Ints
from edgeprune.graph.flow import Flow

WIDEST_STEP = 8  # vector units of processors and phones take 4, 8 or 16 channels at once
FEWEST_WIDTHS = 4  # that a narrow layer can still choose from


def usual_step(width: int) -> int:
    """Return the step of a layer's widths where the user set none: 8, or the power of two that leaves four widths.

    Args:
        width: channels of the layer.
    """
    return min(WIDEST_STEP, 1 << max(0, (width // FEWEST_WIDTHS).bit_length() - 1))


@dataclass(frozen=True)
class ChannelGroup:
    """Classes that live in the same layers: a residual stream, or the inside of one block.

    ``classes`` are indices into a keep-vector; ``producers`` write these channels, ``consumers`` mix them.
    ``channels`` says for each producer how many of its channels one class stands for: 32 in a convolution of
    32 groups, whose j-th channels stay or go together.
    """

    index: int
    name: str
    classes: Ints
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    channels: tuple[int, ...] = ()

    def least(self, floor: int) -> int:
        """Fewest classes with which every producer has ``floor`` channels."""
        return max(1, -(-floor // min(self.channels, default=1)))

    def step(self, align: int | None) -> int:
        """Fewest classes that change the width of every producer by a multiple of ``align``.

        Args:
            align: channels; None for `usual_step` of the narrowest producer.
        """
        if align is None:
            align = usual_step(self.size * min(self.channels, default=1))
        return math.lcm(*(align // math.gcd(align, count) for count in self.channels or (1,)))

    @property
    def size(self) -> int:
        """Return the number of decisions (channels, or sets of them) in this group."""
        return len(self.classes)


def shares_of_groups(
    groups: Sequence[ChannelGroup], cost: Callable[[Ints], float], together: Iterable[Sequence[ChannelGroup]]
) -> list[float]:
    """Return the share of a cost that goes with all channels of some groups, 0 to 1.

    A layer between two groups goes with either of them, so that the shares of all may add up to more than 1.

    Args:
        groups: all of the network.
        cost: of the network, by the groups' widths; see `Graph.by_widths`.
        together: the groups of each share.
    """
    widths = np.array([group.size for group in groups], dtype=np.int64)
    total = max(1.0, cost(widths))
    shares = []
    for chosen in together:
        without = widths.copy()
        without[[group.index for group in chosen]] = 0
        shares.append(1 - cost(without) / total)
    return shares


@dataclass(frozen=True)
class Protected:
    """Channels that are never removed, and why."""

    layers: tuple[str, ...]
    channels: int
    reason: str
    where: str


def components_of(flow: Flow) -> Ints:
    """Return by label the connected component of tied labels that it is in."""
    if not flow.ties:
        return np.arange(flow.count)
    rows = np.concatenate([a.numpy() for a, _ in flow.ties])
    columns = np.concatenate([b.numpy() for _, b in flow.ties])
    matrix = sparse.coo_matrix(
        (np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(flow.count, flow.count)
    )
    return connected_components(matrix, directed=False)[1].astype(np.int64)


def classes_of_components(flow: Flow, component: Ints) -> tuple[Ints, Ints]:
    """Return the class index by label and by component; -1 for what is protected, constant or on no parameter axis."""
    free = np.zeros(component.max() + 1, dtype=bool)
    used = component[_joined(list(flow.param_axes.values()))]
    free[used] = True
    free[component[_joined([labels for labels, _, _ in flow.protections])]] = False
    free[component[0]] = False
    free &= ~_only_created(flow, component)
    components, first = np.unique(used[free[used]], return_index=True)
    component_class = np.full(len(free), -1, dtype=np.int64)
    component_class[components[np.argsort(first)]] = np.arange(len(components))
    return component_class[component], component_class


def _joined(vectors: list[Tensor]) -> Ints:
    return np.concatenate([vector.numpy() for vector in vectors] or [np.zeros(0, dtype=np.int64)])


def _only_created(flow: Flow, component: Ints) -> Bools:
    """Return the components that hold only channels of constants: they cannot be pruned by themselves."""
    created = component[_joined(flow.created)]
    size = int(component.max()) + 1
    counts = np.bincount(created, minlength=size)
    return (counts > 0) & (counts == np.bincount(component, minlength=size))


def groups_of(flow: Flow, param_axes: dict[tuple[str, int], Ints], classes: int) -> list[ChannelGroup]:
    """Group classes that occur on the same parameter axes.

    Args:
        flow: the labels.
        param_axes: the class of each index along an axis of a tensor, by tensor and axis.
        classes: how many there are.
    """
    keys, groups = list(param_axes), []
    read = {consumer.weight for consumer in flow.consumers}
    for index, (members, places) in enumerate(_alike(list(param_axes.values()), classes)):
        made = [keys[p][0] for p in places if flow.outputs.get(keys[p][0]) == keys[p][1]]
        mixed = [keys[p][0] for p in places if keys[p][0] in read and keys[p][0] not in made]
        names = tuple(layer_of(name) for name in made)
        label = names[0] if names else keys[places[0]][0]
        consumers = tuple(layer_of(name) for name in mixed)
        channels = tuple(
            _channels(param_axes[keys[p]], members)
            for p in places
            if flow.outputs.get(keys[p][0]) == keys[p][1]
        )
        groups.append(ChannelGroup(index, label, members, names, consumers, channels))
    return groups


def _channels(vector: Ints, members: Ints) -> int:
    """Return how many indices of a producer each class has, at least."""
    counts = np.bincount(vector[vector >= 0], minlength=int(members.max()) + 1)[members]
    return max(1, int(counts.min()))


def _alike(vectors: list[Ints], classes: int) -> list[tuple[Ints, Ints]]:
    """Return (members, places) of each set of classes that occur in the same ``vectors``, by first member."""
    if not classes:
        return []
    items = np.concatenate(vectors)
    places = np.repeat(np.arange(len(vectors)), [len(v) for v in vectors])
    pairs = np.sort((items * len(vectors) + places)[items >= 0])
    pairs = pairs[np.append(True, pairs[1:] != pairs[:-1])]
    starts = np.searchsorted(pairs, np.arange(classes + 1) * len(vectors))
    pairs %= len(vectors)
    marks = np.random.default_rng(0).integers(
        1, 2**62, size=len(vectors)
    )  # a set is known by its sum of marks
    sums = np.add.reduceat(marks[pairs], starts[:-1])
    _, first, group_of, counts = np.unique(sums, return_index=True, return_inverse=True, return_counts=True)
    members = np.split(np.argsort(group_of, kind="stable"), np.cumsum(counts)[:-1])
    sets = [(members[g], pairs[starts[first[g]] : starts[first[g] + 1]]) for g in range(len(first))]
    return sorted(sets, key=lambda pair: int(pair[0][0]))


def protected_layers(flow: Flow, component: Ints) -> list[Protected]:
    """Return which layers' output channels are protected and why; the first reason counts."""
    made = {name: component[flow.param_axes[name, axis].numpy()] for name, axis in flow.outputs.items()}
    counts: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    open_ones = {name: np.ones(len(components), dtype=bool) for name, components in made.items()}
    hit = np.zeros(component.max() + 1, dtype=bool)
    for labels, reason, where in flow.protections:
        hit[component[labels.numpy()]] = True
        for name in list(open_ones):
            channels = hit[made[name]] & open_ones[name]
            if channels.any():
                counts[reason, where][layer_of(name)] = int(channels.sum())
                open_ones[name] &= ~channels
                if not open_ones[name].any():
                    del open_ones[name]
        hit[component[labels.numpy()]] = False
    return [
        Protected(tuple(layers), sum(layers.values()), reason, where)
        for (reason, where), layers in counts.items()
    ]
