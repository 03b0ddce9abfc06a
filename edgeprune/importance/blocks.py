"""Rows against rows, a block at a time: what compares all pairs of channels needs no matrix of all pairs."""

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK_BYTES = 2**26  # of one block of pairs in float64: enough for a fast product, little beside the weights
ROWS = 256  # of the other side that are converted to float64 at once


def row_blocks(count: int, others: int) -> Iterator[slice]:
    """Slices of ``count`` rows, each of at most `BLOCK_BYTES` when paired with ``others`` in float64."""
    size = max(1, BLOCK_BYTES // (8 * max(1, others)))
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def distance_sums(rows: Tensor) -> Tensor:
    """(n,) sums of each row's euclidean distances to all rows, float64, for ``rows`` (n, weights)."""
    sums = torch.zeros(len(rows), dtype=torch.float64)
    for block in row_blocks(len(rows), len(rows)):
        sums[block] = torch.cdist(rows[block], rows).sum(1)
    return sums
