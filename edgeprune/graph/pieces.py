"""Equal pieces of a tensor: channels that the network's code cuts apart by their number stay equally many.

``y.chunk(2, 1)`` gives two halves of whatever is left of y's channels. The code stays right after a cut where each half
has lost as many channels as the other, whichever they are. Budgets ask here which groups of channels are bound so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch.fx as fx
from numpy.typing import NDArray
from torch import Tensor

from edgeprune.graph import labels as lb
from edgeprune.graph.ops import op_name, source_of, spec_of
from edgeprune.recording.record import SIZED, VALUE

if TYPE_CHECKING:
    from edgeprune.graph.flow import Flow
    from edgeprune.graph.groups import ChannelGroup

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TiedGroups:
    """Groups whose widths are one decision, since equal pieces of a tensor lie in them; most groups stand alone.

    A level is the smallest change: it takes as many classes from each part as keep the pieces equal.

    Attributes:
        groups: the groups, by index.
        parts: for each of them, the classes of each part; a group that stands alone is one part.
    """

    groups: tuple[ChannelGroup, ...]
    parts: tuple[tuple[Ints, ...], ...]

    @cached_property
    def size(self) -> int:
        """Return the number of levels: classes of the smallest part."""
        return math.gcd(*(len(part) for parts in self.parts for part in parts))

    @property
    def indices(self) -> tuple[int, ...]:
        """Return the indices of the groups."""
        return tuple(group.index for group in self.groups)

    def widths(self, level: int) -> tuple[int, ...]:
        """Return how many classes of each group are kept at a level."""
        return tuple(level * (group.size // self.size) for group in self.groups)

    def least(self, floor: int) -> int:
        """Fewest levels with which every producer has ``floor`` channels."""
        return max(-(-group.least(floor) * self.size // group.size) for group in self.groups)

    def step(self, steps: Sequence[int]) -> int:
        """Fewest levels that change every part by a multiple of its group's step."""
        return math.lcm(
            *(
                step // math.gcd(step, len(part) // self.size)
                for step, parts in zip(steps, self.parts, strict=True)
                for part in parts
            )
        )

    def ranked(self, scores: Floats) -> list[Ints]:
        """Rank each group's classes by importance, as (levels, classes of a level); a level takes from all parts."""
        return [
            np.concatenate(
                [part[np.argsort(-scores[part], kind="stable")].reshape(self.size, -1) for part in parts],
                1,
            )
            for parts in self.parts
        ]

    def levels(self, scores: Floats) -> Ints:
        """Rank the levels by importance: (levels, classes of a level, of all groups), the best first."""
        return np.concatenate(self.ranked(scores), 1)


def tied_groups(groups: Sequence[ChannelGroup], flows: Sequence[Flow], class_of: Ints) -> list[TiedGroups]:
    """Return all groups, those together that equal pieces tie, by first index.

    Args:
        groups: of a graph.
        flows: the walks over its records.
        class_of: class of each label.
    """
    ties = _Ties(groups)
    for flow in flows:
        for pieces in equal_pieces(flow, class_of):
            ties.add(pieces)
    return ties.gathered()


class _Ties:
    """Parts of groups, refined by one cut into pieces after the other.

    All counts in proportion to the sizes keep every piece as long as the others, however the cuts are nested.
    """

    def __init__(self, groups: Sequence[ChannelGroup]) -> None:
        self.groups = groups
        self.classes = sum(group.size for group in groups)
        self.group_of = np.zeros(self.classes, dtype=np.int64)
        for group in groups:
            self.group_of[group.classes] = group.index
        self.part_of = self.group_of.copy()
        self.owner = np.arange(len(groups))  # of each group, the first that it is tied to

    def add(self, pieces: Ints) -> None:
        """Tie what the rows of ``pieces``, classes or -1, do not share, where no coarser step comes of it."""
        counts = np.stack([np.bincount(piece + 1, minlength=self.classes + 1) for piece in pieces])
        differences = counts[:, 1:] - counts[:1, 1:]
        touched = np.flatnonzero(differences.any(0))
        # Where more of one piece always stays the others could lose nothing.
        if not len(touched) or (counts[:, 0] != counts[0, 0]).any() or self._is_mixed(pieces):
            return
        owners = np.unique(self.owner[self.group_of[touched]])
        members = np.flatnonzero(np.isin(self.owner[self.group_of], owners))
        rows = np.concatenate([self.part_of[None, members], differences[:, members]])
        parts = np.unique(rows, axis=1, return_inverse=True)[1].reshape(-1)
        sizes = np.bincount(parts)
        if math.gcd(*sizes.tolist()) < sizes.min():
            return
        self.part_of[members] = parts + self.part_of.max() + 1
        self.owner[np.isin(self.owner, owners)] = owners[0]

    def _is_mixed(self, pieces: Ints) -> bool:
        """Tell whether groups alternate in a piece: what shuffles them counts in its own code, which is rewritten."""
        for piece in pieces:
            groups = self.group_of[piece[piece >= 0]]
            runs = 1 + np.count_nonzero(groups[1:] != groups[:-1])
            if runs > len(np.unique(groups)):
                return True
        return False

    def gathered(self) -> list[TiedGroups]:
        """Return what is tied now."""
        tied = []
        for owner in np.unique(self.owner):
            groups = tuple(self.groups[index] for index in np.flatnonzero(self.owner == owner).tolist())
            parts = tuple(tuple(self._split(group.classes)) for group in groups)
            tied.append(TiedGroups(groups, parts))
        return tied

    def _split(self, classes: Ints) -> list[Ints]:
        parts = self.part_of[classes]
        return [classes[parts == part] for part in np.unique(parts)]


def equal_pieces(flow: Flow, class_of: Ints) -> Iterator[Ints]:
    """Yield the classes of each tensor that is cut into equal pieces by its own size: (pieces, channels of each).

    Args:
        flow: a walk over a record.
        class_of: class of each label; -1 is yielded where a channel always stays.
    """
    known: set[bytes] = set()
    measured = {bytes(class_of[v].tobytes()) for v in _measured(flow)}
    for node in flow.module.graph.nodes:
        cut = _cut_of(node) if node in flow.movers else None
        labels = flow.values.get(source_of(node)) if cut is not None else None
        if cut is None or not isinstance(labels, Tensor) or not lb.varies(labels, cut.axis):
            continue
        vector = lb.vector_along(labels, cut.axis)
        if vector is None or len(vector) % cut.length:
            continue
        classes = class_of[vector.numpy()]
        key = classes.tobytes() + bytes(str(cut.length), "ascii")
        if key not in known and (cut.counted or classes.tobytes() in measured):
            known.add(key)
            yield classes.reshape(-1, cut.length)


def _measured(flow: Flow) -> Iterator[Ints]:
    """Return the labels along the channel axes of tensors whose size the network's code reads."""
    for node in flow.module.graph.nodes:
        labels = flow.values.get(node)
        if SIZED in node.meta and isinstance(labels, Tensor):
            for axis in lb.wide_axes(labels):
                vector = lb.vector_along(labels, axis)
                if vector is not None:
                    yield vector.numpy()


@dataclass(frozen=True)
class _Cut:
    """A call that takes pieces of ``length`` along ``axis``; ``counted`` says that it is given their number."""

    axis: int
    length: int
    counted: bool = False


def _cut_of(node: fx.Node) -> _Cut | None:
    """Tell what a call takes; None where that are not equal pieces."""
    name, source = op_name(node), source_of(node)
    value = source.meta.get(VALUE) if isinstance(source, fx.Node) else None
    if not isinstance(value, Tensor):
        return None
    if spec_of(node).splits:
        axis = int(_argument(node, 2, "dim", 0)) % value.dim()
        lengths = [part.shape[axis] for part in node.meta[VALUE]]
        number = _sections(node) if name in ("chunk", "tensor_split") else None
        counted = isinstance(number, int)
        # chunk(6) of 8 channels gives 4 pieces; of 6 it would give 6.
        are_equal = len(set(lengths)) == 1 < len(lengths) and (not counted or number == len(lengths))
        return _Cut(axis, lengths[0], counted) if are_equal else None
    if name == "narrow":
        axis, start, length = (
            _argument(node, i, key) for i, key in ((1, "dim"), (2, "start"), (3, "length"))
        )
        if isinstance(start, int) and isinstance(length, int):
            return _piece(axis % value.dim(), start, start + length, value)
    if name == "getitem":
        return _slice(node, value)
    return None


def _slice(node: fx.Node, value: Tensor) -> _Cut | None:
    """Tell what y[:, a:b] takes."""
    index: Any = node.args[1]
    items: list[Any] = list(index) if isinstance(index, (tuple, list)) else [index]
    if not all(item is Ellipsis or isinstance(item, slice) for item in items):
        return None
    if Ellipsis in items:
        place = items.index(Ellipsis)
        items[place : place + 1] = [slice(None)] * (value.dim() - len(items) + 1)
    cuts = [
        (axis, item.indices(value.shape[axis]))
        for axis, item in enumerate(items)
        if item != slice(None)
        and all(isinstance(n, (int, type(None))) for n in (item.start, item.stop, item.step))
    ]
    parts = [_piece(axis, start, stop, value) for axis, (start, stop, step) in cuts if step == 1]
    return parts[0] if len(parts) == 1 and len(cuts) == 1 else None


def _piece(axis: int, start: int, stop: int, value: Tensor) -> _Cut | None:
    """Return the cut that a piece from ``start`` to ``stop`` is of; None where the pieces were not equal."""
    length = stop - start
    fits = 0 < length < value.shape[axis] and start % length == 0
    return _Cut(axis, length) if fits else None


def _sections(node: fx.Node) -> Any:
    """Return the requested number of pieces."""
    names = ("chunks", "sections", "indices_or_sections")
    return (
        node.args[1]
        if len(node.args) > 1
        else next((node.kwargs[n] for n in names if n in node.kwargs), None)
    )


def _argument(node: fx.Node, position: int, name: str, default: Any = None) -> Any:
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)
