"""Ranges of activations for int8: collected over calibration images, cut where the error is least."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

BINS = 2048
LEVELS = 127
CANDIDATES = 64


@dataclass
class Histogram:
    """Counts of the sizes of one tensor's values; its bins double in width when a larger value comes.

    Attributes:
        counts: of ``abs(values)``, in bins of equal width from 0.
        top: the upper end of the last bin; 0 before the first value.
    """

    counts: np.ndarray
    top: float = 0.0

    @classmethod
    def empty(cls) -> "Histogram":
        """Return one without values."""
        return cls(np.zeros(BINS))

    def add(self, values: np.ndarray) -> None:
        """Count values of either sign."""
        sizes = np.abs(np.asarray(values, np.float32)).ravel()
        largest = float(sizes.max(initial=0.0))
        if self.top == 0.0:
            self.top = largest
        if self.top == 0.0:
            return
        while largest > self.top:
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(1), np.zeros(BINS // 2)])
            self.top *= 2
        self.counts += np.histogram(sizes, BINS, (0.0, self.top))[0]

    def least_error(self) -> float:
        """Return the range whose int8 has the least mean square error: large values are cut, small ones rounded."""
        used = np.flatnonzero(self.counts)
        if not len(used):
            return 0.0
        width = self.top / BINS
        middles = (np.arange(BINS) + 0.5) * width
        largest = (used[-1] + 1) * width
        ranges = largest * np.linspace(1.0, 0.1, CANDIDATES)
        return float(ranges[int(np.argmin([self._error(middles, limit) for limit in ranges]))])

    def _error(self, middles: np.ndarray, limit: float) -> float:
        step = limit / LEVELS
        rounded = np.minimum(np.rint(middles / step), LEVELS) * step
        return float((self.counts * (middles - rounded) ** 2).sum())


def ranges_of(batches: Iterable[dict[str, np.ndarray]]) -> dict[str, float]:
    """Return {tensor: its range} over all images, each range where its error is least."""
    histograms: dict[str, Histogram] = {}
    for values in batches:
        for name, array in values.items():
            histograms.setdefault(name, Histogram.empty()).add(array)
    return {name: histogram.least_error() for name, histogram in histograms.items()}
