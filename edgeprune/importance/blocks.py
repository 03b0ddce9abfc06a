"""Compare all pairs of rows a block at a time, without a matrix of all pairs."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from edgeprune.graph.classes import Ints

BLOCK_BYTES = 2**26  # of one block, in float64: enough for a fast product, little beside the weights
KEPT = 64  # nearest others of each row that are remembered

# (rows of one block, rows of another) -> how close each pair is, in float64.
Closeness = Callable[[Tensor, Tensor], Tensor]


def block_size(count: int, width: int) -> int:
    """Rows in a block: neither they in float64 nor their pairs take more than `BLOCK_BYTES`."""
    return max(1, min(BLOCK_BYTES // (8 * max(1, width)), int((BLOCK_BYTES / 8) ** 0.5), count))


def pairs_of_blocks(rows: Tensor) -> Iterator[tuple[slice, Tensor, slice, Tensor]]:
    """Each pair of blocks once, the later block second, both in float64; a block with itself too.

    Args:
        rows: (n, ...) of any floating type.
    """
    size = block_size(len(rows), rows[0].numel() if len(rows) else 1)
    slices = [slice(start, start + size) for start in range(0, len(rows), size)]
    for number, first in enumerate(slices):
        block = rows[first].double()
        for second in slices[number:]:
            yield first, block, second, block if second is first else rows[second].double()


def weighted_sums(rows: Tensor, apart: Closeness, weights: Tensor) -> Tensor:
    """(n,) sums over the other rows of ``apart`` times their weight, float64.

    Args:
        rows: (n, ...).
        apart: of two blocks; a row with itself does not count.
        weights: (n,) of the others.
    """
    sums = torch.zeros(len(rows), dtype=torch.float64)
    for first, block, second, other in pairs_of_blocks(rows):
        pairs = apart(block, other)
        if second is first:
            sums[first] += pairs.fill_diagonal_(0) @ weights[first]
        else:
            sums[first] += pairs @ weights[second]
            sums[second] += pairs.T @ weights[first]
    sums[~torch.isfinite(rows.flatten(1)).all(1)] = torch.nan  # a layer of one channel has no pair to show it
    return sums


class Nearest:
    """The closest others of each row while rows are removed, without a matrix of all pairs.

    Of each row the `KEPT` closest are remembered; when too few of them are left, the row is compared anew.

    Args:
        rows: (n, ...); they are not copied.
        closeness: of two blocks of rows; the larger, the closer.
        wanted: others that are asked for at once, at most.
    """

    def __init__(self, rows: Tensor, closeness: Closeness, wanted: int = 1) -> None:
        self._rows, self._closeness = rows, closeness
        count, kept = len(rows), min(max(KEPT, 2 * wanted), max(0, len(rows) - 1))
        self.alive = np.ones(count, dtype=bool)
        self._values = np.full((count, kept), -np.inf)
        self._others = np.zeros((count, kept), dtype=np.int64)
        if not kept:
            return
        for first, block, second, other in pairs_of_blocks(rows):
            pairs = closeness(block, other)
            if second is first:
                pairs.fill_diagonal_(-torch.inf)
            else:
                self._merge(second, pairs.T, first.start)
            self._merge(first, pairs, second.start)

    def _merge(self, place: slice, pairs: Tensor, start: int) -> None:
        """Take the closest of a block of pairs among those remembered so far."""
        closest, positions = pairs.topk(min(self._values.shape[1], pairs.shape[1]), dim=1)
        values = np.concatenate([self._values[place], closest.numpy()], axis=1)
        others = np.concatenate([self._others[place], positions.numpy() + start], axis=1)
        order = np.lexsort((others, -values))[:, : self._values.shape[1]]  # of equals the first in the layer
        self._values[place] = np.take_along_axis(values, order, 1)
        self._others[place] = np.take_along_axis(others, order, 1)

    def closest(self, row: int, count: int) -> tuple[np.ndarray, Ints]:
        """Closeness and index of the ``count`` closest rows that are alive, or of as many as there are."""
        left = np.flatnonzero(self.alive[self._others[row]] & (self._values[row] > -np.inf))
        if len(left) < count and self.alive.sum() - self.alive[row] > len(left):
            self._renew(row)
            left = np.flatnonzero(self.alive[self._others[row]] & (self._values[row] > -np.inf))
        return self._values[row, left[:count]], self._others[row, left[:count]]

    def _renew(self, row: int) -> None:
        """Compare a row with all that are alive."""
        others = np.flatnonzero(self.alive)
        others = others[others != row]
        one = self._rows[row : row + 1].double()
        size = block_size(len(others), one.numel())
        parts = [
            self._closeness(one, self._rows[torch.from_numpy(others[start : start + size])].double())
            for start in range(0, len(others), size)
        ]
        values = torch.cat(parts, 1)[0].numpy()
        order = np.argsort(-values, kind="stable")[: self._values.shape[1]]
        self._values[row], self._others[row] = -np.inf, 0
        self._values[row, : len(order)], self._others[row, : len(order)] = values[order], others[order]

    @property
    def largest(self) -> float:
        """The closeness of the closest pair; 0 where there is none."""
        return float(self._values.max(initial=0.0))
