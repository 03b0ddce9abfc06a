"""Kept indices of each tensor, in the order they are written."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.fx as fx
from torch import Tensor

from edgeprune.graph import labels as lb
from edgeprune.graph.classes import Bools, Graph, Ints
from edgeprune.graph.labels import tensors_in
from edgeprune.graph.nodes import layer_name
from edgeprune.graph.ordering import Orders
from edgeprune.graph.plan import Plan


class Immovable(Exception):
    """These classes cannot be removed exactly at ``where``; ``why`` goes into a sentence about them."""

    def __init__(self, classes: Ints, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}")
        self.classes, self.where, self.why = classes, where, why


def left_alone(plan: Plan, immovable: Immovable) -> Plan:
    """Return the plan that keeps what cannot be removed, with a note that says so."""
    keep = plan.keep.copy()
    if keep.all():
        raise AssertionError(f"pruning is stuck at {immovable} with nothing left to give back") from immovable
    # Where nothing of what is stuck was dropped, something else that was has brought it there.
    keep[immovable.classes if not keep[immovable.classes].all() else slice(None)] = True
    back = int(keep.sum() - plan.keep.sum())
    note = f"left alone: {back} channel{'s' * (back > 1)} at {immovable.where}, because {immovable.why}"
    return replace(plan, keep=keep, notes=(*plan.notes, note))


class Broken:
    """Stands for a tensor whose survivors form no grid: it only exists inside a chain of movers."""


BROKEN = Broken()


def is_broken(value: Any) -> bool:
    """Tell whether a part of ``value`` has no grid."""
    return any(leaf is BROKEN for leaf in lb.flat(value))


class Survivors:
    """Labels and indices that a keep-set leaves."""

    def __init__(self, graph: Graph, keep: Bools, orders: Orders) -> None:
        self.graph, self.orders = graph, orders
        # By the ids of label tensors, which are kept, since other tensors may come to have their ids.
        self._left: dict[int, tuple[Tensor, Any]] = {}
        # By content: the same channels run through several tensors. What survives, and their places.
        self._by_content: dict[tuple[torch.Size, bytes], tuple[Tensor | None, list[Tensor] | None]] = {}
        self._alive = np.append(keep, True)[graph.class_of]  # by label; class -1 stays

    def kept(self, labels: Tensor) -> Tensor:
        """Return which labels are kept, as flags."""
        return torch.from_numpy(np.asarray(self._alive[labels.numpy()]))

    def index(self, labels: Tensor) -> list[Tensor] | None:
        """Surviving indices by axis, in the order they are written; None when they form no grid."""
        small = lb.core(labels)
        places = self._surviving(small)[1]
        return None if places is None else _stretched(places, small.shape, labels.shape)

    def _surviving(self, small: Tensor) -> tuple[Tensor | None, list[Tensor] | None]:
        """Return the labels of a core that survive, and their places in it; None where they form no grid."""
        key = small.shape, small.numpy().tobytes()
        known = self._by_content.get(key)
        if known is None:
            known = self._by_content[key] = self._vector(small) or self._grid(small)
        return known

    def _vector(self, small: Tensor) -> tuple[Tensor, list[Tensor]] | None:
        """Do what `_grid` does where the labels change along one axis alone; None where some other thing is asked."""
        shape, numbers = tuple(small.shape), small.numpy().reshape(-1)
        if self.orders or len(numbers) < 2 or max(shape) != len(numbers):
            return None
        alive = self._alive[numbers]
        if not alive.any():
            return None
        axis = shape.index(len(numbers))
        places = [lb.every(size) for size in shape]
        if alive.all():
            return small, places
        places[axis] = torch.from_numpy(np.flatnonzero(alive))
        left = torch.from_numpy(numbers[alive]).view([-1 if a == axis else 1 for a in range(len(shape))])
        return left, places

    def _grid(self, small: Tensor) -> tuple[Tensor | None, list[Tensor] | None]:
        places = self._places(small)
        return (None if places is None else _taken(small, places)), places

    def _places(self, small: Tensor) -> list[Tensor] | None:
        axes = lb.alive_indices(small, self.kept)
        if axes is None or not self.orders:
            return axes
        for axis, size in enumerate(small.shape):
            if size > 1 and small.numel() == size:
                order = self.orders.get(self.graph.classes_of(small.reshape(-1)).tobytes())
                axes[axis] = axes[axis] if order is None else torch.from_numpy(order)
        return axes

    def order_of(self, vector: Tensor) -> list[int]:
        """Return the kept indices of a label vector, in the order they are written."""
        order = self.orders.get(self.graph.classes_of(vector).tobytes())
        return (self.kept(vector).nonzero()[:, 0] if order is None else torch.from_numpy(order)).tolist()

    def of(self, labels: Any) -> Any:
        """Return the label tensor(s) that must arrive after rewriting; BROKEN where there is no grid."""
        if isinstance(labels, Tensor):
            known = self._left.get(id(labels))
            if known is None:
                known = self._left[id(labels)] = (labels, self._of_tensor(labels))
            return known[1]
        return lb.mapped(labels, lambda leaf: self.of(leaf) if isinstance(leaf, Tensor) else leaf)

    def _of_tensor(self, labels: Tensor) -> Any:
        small = lb.core(labels)
        left, places = self._surviving(small)
        if left is None or places is None:
            return BROKEN
        return left.expand([p.shape[0] for p in _stretched(places, small.shape, labels.shape)])

    def refuse(self, labels: Any, node: fx.Node) -> Immovable:
        """Return the error that keeps every class in ``labels``."""
        vectors = [self.graph.classes_of(lb.core(t)).reshape(-1) for t in tensors_in(labels)]
        classes = np.unique(np.concatenate(vectors)) if vectors else np.zeros(0, dtype=np.int64)
        return Immovable(classes[classes >= 0], layer_name(node), "they cannot be moved out exactly there")


def _taken(small: Tensor, places: list[Tensor]) -> Tensor:
    """Return the labels at these places of each axis."""
    for axis, index in enumerate(places):
        if index is not lb.every(small.shape[axis]):
            small = small.index_select(axis, index)
    return small


def _stretched(places: list[Tensor], small: torch.Size, full: torch.Size) -> list[Tensor]:
    """Return the places where a core is expanded to its full shape: there all stay where the one did.

    Args:
        places: the places in the core.
        small: its shape.
        full: the shape of the labels it is the core of.
    """
    return [
        lb.every(size) if before == 1 and index.shape[0] else index
        for index, before, size in zip(places, small, full, strict=True)
    ]
