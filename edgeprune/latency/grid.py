"""Choose the widths to time: first the steps of the staircase, then a grid that is finest where times bend."""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Times = Mapping[int, float]

WINDOW = 64  # widths up to which steps are searched: in wider layers a step is lost in the noise
STEPS = (64, 32, 16, 8, 4)
SAME = 0.07  # times this near are the same; doubling a narrow layer's blocks costs far more
BENT = 0.04  # a time off the line through its neighbours by more needs another point


@dataclass(frozen=True)
class Sampling:
    """How many points a layer is worth: many where one file has them all, few where each takes one.

    Attributes:
        probes: widths, within the window, that reveal steps.
        finest: intervals on an axis at most: times bend where layers have few channels.
        refinements: rounds of points between points.
        together: shapes that are timed in the same files.
        by_kernel: whether steps are searched for each kernel size, and for linear layers by themselves.
    """

    probes: tuple[int, ...]
    finest: int
    refinements: int
    together: int
    by_kernel: bool


ODD_WIDTH = WINDOW // 2 - 3  # lies between the multiples of any step
FINE = Sampling(
    (*range(4, WINDOW - 3, 4), ODD_WIDTH, WINDOW - 1, WINDOW),
    finest=16,
    refinements=3,
    together=12,
    by_kernel=True,
)
COARSE = Sampling(
    (16, 24, 28, ODD_WIDTH, 32, 48, 56, 60, WINDOW - 1, WINDOW),
    finest=4,
    refinements=1,
    together=1,
    by_kernel=False,
)


def find_step(times: Times) -> int:
    """Return the largest step within which pruning further saves no time.

    A step of s says that T(w) >= T(ceil(w / s) * s): widths between multiples of s cost at least as much as
    the next multiple. 1 where times simply grow.
    """
    for step in STEPS:
        tops = [w for w in times if w % step == 0]
        between = [(w, top) for top in tops for w in times if top - step < w < top]
        if len(tops) > 1 and between and all(times[w] >= times[top] * (1 - SAME) for w, top in between):
            return step
    return 1


def find_misalignment_penalty(times: Times, step: int) -> float:
    """Return the misalignment penalty: the median time of a width between steps over the next multiple's."""
    ratios = [times[w] / times[top] for w in times if w % step and (top := -(-w // step) * step) in times]
    return max(1.0, statistics.median(ratios)) if ratios else 1.0


def first_grid(full: int, step: int) -> list[int]:
    """Return powers of two in steps, and the full width."""
    widths, width = {full}, step
    while width < full:
        widths.add(width)
        width *= 2
    return sorted(widths)


class Line:
    """Times along one axis, on a grid that grows where they are bent.

    Where the midpoint of two widths is off the line through them, the grid gets further points.
    """

    def __init__(self, widths: Iterable[int], step: int) -> None:
        self.step, self.times = step, dict[int, float]()
        self._pending = sorted(widths)
        self._open: dict[int, tuple[int, int]] = {}  # middle -> its neighbours
        self._straight: set[tuple[int, int]] = set()

    def pending(self) -> list[int]:
        """Return the widths to be timed next; none when the grid is fine enough."""
        return self._pending

    def take(self, times: Times) -> None:
        """Take in times of the pending widths, and refine the grid where they bend."""
        self.times.update(times)
        for middle, (a, b) in self._open.items():
            line = self.times[a] + (self.times[b] - self.times[a]) * (middle - a) / (b - a)
            if abs(self.times[middle] / line - 1) <= BENT:
                self._straight |= {(a, middle), (middle, b)}
        places = sorted(self.times)
        pairs = [p for p in zip(places, places[1:], strict=False) if p not in self._straight]
        middles = {_middle(pair, self.step): pair for pair in pairs}
        self._open = {middle: pair for middle, pair in middles.items() if middle is not None}
        self._pending = sorted(self._open)


def _middle(pair: tuple[int, int], step: int) -> int | None:
    """Return the multiple of ``step`` nearest to the middle of two widths; None if none is between."""
    a, b = pair
    middle = round((a + b) / 2 / step) * step
    return middle if a < middle < b else None
