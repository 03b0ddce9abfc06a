"""Compare all pairs of rows block by block, without a matrix of all pairs."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from edgeprune.graph.classes import Ints

BLOCK_BYTES = 2**26  # of one block, in float64: enough for a fast product, little compared with the weights
KEPT = 64  # nearest rows that are stored for each row

# (rows of one block, rows of another) -> closeness or distance of each pair, in float64.
PairMeasure = Callable[[Tensor, Tensor], Tensor]


def block_size(count: int, width: int) -> int:
    """Return the rows in a block, such that neither they in float64 nor their pairs exceed `BLOCK_BYTES`."""
    return max(1, min(BLOCK_BYTES // (8 * max(1, width)), int((BLOCK_BYTES / 8) ** 0.5), count))


def pairs_of_blocks(rows: Tensor) -> Iterator[tuple[slice, Tensor, slice, Tensor]]:
    """Yield each pair of blocks once, the later block second, both in float64; includes a block with itself.

    Args:
        rows: (n, ...) of any floating type.
    """
    size = block_size(len(rows), rows[0].numel() if len(rows) else 1)
    slices = [slice(start, start + size) for start in range(0, len(rows), size)]
    for number, first in enumerate(slices):
        block = rows[first].double()
        for second in slices[number:]:
            yield first, block, second, block if second is first else rows[second].double()


def weighted_sums(rows: Tensor, distance: PairMeasure, weights: Tensor) -> Tensor:
    """Return the (n,) weighted sums of each row's distances to the other rows, float64.

    Args:
        rows: (n, ...).
        distance: between the rows of two blocks; a row with itself does not count.
        weights: (n,) weights of the other rows.
    """
    sums = torch.zeros(len(rows), dtype=torch.float64)
    for first, block, second, other in pairs_of_blocks(rows):
        pairs = distance(block, other)
        if second is first:
            sums[first] += pairs.fill_diagonal_(0) @ weights[first]
        else:
            sums[first] += pairs @ weights[second]
            sums[second] += pairs.T @ weights[first]
    sums[~torch.isfinite(rows.flatten(1)).all(1)] = torch.nan  # a layer of one channel has no pair
    return sums


class Nearest:
    """The closest other rows of each row while rows are removed, without a matrix of all pairs.

    The `KEPT` closest are stored for each row; when too few of them are left, the row is compared again.

    Args:
        rows: (n, ...); they are not copied.
        closeness: of two blocks of rows; larger means closer.
        max_count: largest ``count`` that `closest` is called with.
    """

    def __init__(self, rows: Tensor, closeness: PairMeasure, max_count: int = 1) -> None:
        self._rows, self._closeness = rows, closeness
        count, kept = len(rows), min(max(KEPT, 2 * max_count), max(0, len(rows) - 1))
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
        """Merge the closest of a block of pairs into the stored ones."""
        closest, positions = pairs.topk(min(self._values.shape[1], pairs.shape[1]), dim=1)
        values = np.concatenate([self._values[place], closest.numpy()], axis=1)
        others = np.concatenate([self._others[place], positions.numpy() + start], axis=1)
        order = np.lexsort((others, -values))[
            :, : self._values.shape[1]
        ]  # of equal ones the first in the layer
        self._values[place] = np.take_along_axis(values, order, 1)
        self._others[place] = np.take_along_axis(others, order, 1)

    def closest(self, row: int, count: int) -> tuple[np.ndarray, Ints]:
        """Return closeness and index of the ``count`` closest remaining rows, or of all if there are fewer."""
        left = np.flatnonzero(self.alive[self._others[row]] & (self._values[row] > -np.inf))
        if len(left) < count and self.alive.sum() - self.alive[row] > len(left):
            self._renew(row)
            left = np.flatnonzero(self.alive[self._others[row]] & (self._values[row] > -np.inf))
        return self._values[row, left[:count]], self._others[row, left[:count]]

    def _renew(self, row: int) -> None:
        """Compare a row with all remaining rows."""
        others = np.flatnonzero(self.alive)
        others = others[others != row]
        query = self._rows[row : row + 1].double()
        size = block_size(len(others), query.numel())
        parts = [
            self._closeness(query, self._rows[torch.from_numpy(others[start : start + size])].double())
            for start in range(0, len(others), size)
        ]
        values = torch.cat(parts, 1)[0].numpy()
        order = np.argsort(-values, kind="stable")[: self._values.shape[1]]
        self._values[row], self._others[row] = -np.inf, 0
        self._values[row, : len(order)], self._others[row, : len(order)] = values[order], others[order]

    @property
    def largest(self) -> float:
        """Closeness of the closest pair; 0 if there is no pair."""
        return float(self._values.max(initial=0.0))
