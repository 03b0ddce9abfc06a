"""Ranges of tensors for int8: collected over images, then all values, or cut where little is lost."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

BINS = 2048
LEVELS = 127
CANDIDATES = 64
PERCENT = 99.999  # of the values lie within the range of "percentile"
METHODS = ("mse", "minmax", "percentile", "entropy")


@dataclass
class Histogram:
    """Counts of the sizes of one tensor's values; its bins double in width when a larger value comes.

    Attributes:
        counts: of ``abs(values)``, in bins of equal width from 0.
        top: the upper end of the last bin; 0 before the first value.
        largest: of all values.
    """

    counts: np.ndarray
    top: float = 0.0
    largest: float = 0.0

    @classmethod
    def empty(cls) -> "Histogram":
        """Return one without values."""
        return cls(np.zeros(BINS))

    def add(self, values: np.ndarray) -> None:
        """Count values of either sign."""
        sizes = np.abs(np.asarray(values, np.float32)).ravel()
        largest = float(sizes.max(initial=0.0))
        self.largest = max(self.largest, largest)
        if self.top == 0.0:
            self.top = largest
        if self.top == 0.0:
            return
        while largest > self.top:
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(1), np.zeros(BINS // 2)])
            self.top *= 2
        self.counts += np.histogram(sizes, BINS, (0.0, self.top))[0]

    def range(self, method: str = METHODS[0]) -> float:
        """Return the range by a method of `METHODS`.

        Args:
            method: "minmax": all values; "percentile": all but 1 of 100,000; "mse": the least mean square error, large
                values cut and small ones rounded; "entropy": the least information lost (Migacz, 8-bit Inference with
                TensorRT, 2017).
        """
        if not self.counts.any() or method == "minmax":
            return self.largest
        if method == "percentile":
            share = np.cumsum(self.counts) / self.counts.sum()
            return self._end_of(int(np.searchsorted(share, PERCENT / 100)))
        return self._least_information_lost() if method == "entropy" else self._least_error()

    def _end_of(self, bin_: int) -> float:
        """Return the upper end of a bin; the largest value lies in the last."""
        return min(self.largest, (bin_ + 1) * self.top / BINS)

    def _least_error(self) -> float:
        middles = (np.arange(BINS) + 0.5) * self.top / BINS
        ranges = self.largest * np.linspace(1.0, 0.1, CANDIDATES)
        return float(ranges[int(np.argmin([self._error(middles, limit) for limit in ranges]))])

    def _error(self, middles: np.ndarray, limit: float) -> float:
        step = limit / LEVELS
        rounded = np.minimum(np.rint(middles / step), LEVELS) * step
        return float((self.counts * (middles - rounded) ** 2).sum())

    def _least_information_lost(self) -> float:
        levels = LEVELS + 1
        counts = np.concatenate([self.counts[1:2], self.counts[1:]])  # zeros, of ReLU, say nothing of a range
        if not counts.any():
            return self.largest
        used = int(np.flatnonzero(counts)[-1]) + 1
        ends = range(min(levels, used), used + 1, BINS // levels)
        return self._end_of(min(ends, key=lambda end: _divergence(counts, end, levels)) - 1)


def _divergence(counts: np.ndarray, end: int, levels: int) -> float:
    """Return the Kullback-Leibler divergence of counts cut at a bin from what ``levels`` of them can tell apart.

    Args:
        counts: in bins of equal width.
        end: number of bins that remain; what lies above counts in the last.
        levels: that the remaining bins are merged to.
    """
    kept = counts[:end].copy()
    level = np.minimum(np.arange(end) * levels // end, levels - 1)
    totals = np.bincount(level, kept, levels)
    filled = np.bincount(level, kept > 0, levels)
    kept[-1] += counts[end:].sum()
    merged = np.where(counts[:end] > 0, (totals / np.maximum(filled, 1))[level], 0.0)
    p, q = kept / kept.sum(), np.maximum(merged / merged.sum(), 1e-12)
    return float((p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum())


def ranges_of(batches: Iterable[dict[str, np.ndarray]], method: str = METHODS[0]) -> dict[str, float]:
    """Return {tensor: its range} over all images.

    Args:
        batches: tensors by name.
        method: of `METHODS`; see `Histogram.range`.
    """
    histograms: dict[str, Histogram] = {}
    for values in batches:
        for name, array in values.items():
            histograms.setdefault(name, Histogram.empty()).add(array)
    return {name: histogram.range(method) for name, histogram in histograms.items()}
