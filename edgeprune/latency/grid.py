"""Which widths to time: the steps of the staircase first, then a grid as fine as the times are bent."""

import statistics
from collections.abc import Iterable, Mapping

Times = Mapping[int, float]

WINDOW = 64  # widths below which steps are looked for: in wider layers a step is lost in the noise
STEPS = (64, 32, 16, 8, 4)
SAME = 0.07  # times this near are the same; doubling a narrow layer's blocks costs far more
BENT = 0.04  # a time off the line through its neighbours by more wants a point there


def probe_widths() -> list[int]:
    """Widths that show the step, whatever the model's own: every fourth of the window, and two odd ones."""
    return sorted({*range(4, WINDOW + 1, 4), WINDOW - 1, WINDOW // 2 - 3})


def find_step(times: Times) -> int:
    """The largest step within which nothing is gained by a narrower layer.

    A step of s says that T(w) >= T(ceil(w / s) * s): widths between multiples of s cost at least as much
    as the next multiple. 1 where times simply grow.
    """
    for step in STEPS:
        tops = [w for w in times if w % step == 0]
        between = [(w, top) for top in tops for w in times if top - step < w < top]
        if len(tops) > 1 and between and all(times[w] >= times[top] * (1 - SAME) for w, top in between):
            return step
    return 1


def find_rough(times: Times, step: int) -> float:
    """How many times longer than the next multiple of ``step`` a width between takes; the median."""
    ratios = [times[w] / times[top] for w in times if w % step and (top := -(-w // step) * step) in times]
    return max(1.0, statistics.median(ratios)) if ratios else 1.0


def first_grid(full: int, step: int) -> list[int]:
    """Powers of two in steps, and the full width."""
    found, width = {full}, step
    while width < full:
        found.add(width)
        width *= 2
    return sorted(found)


class Line:
    """Times along one axis, on a grid that grows where they are bent.

    Between neighbours whose middle is off the line through them, more points are wanted.
    """

    def __init__(self, widths: Iterable[int], step: int) -> None:
        self.step, self.times = step, dict[int, float]()
        self._wanted = sorted(widths)
        self._open: dict[int, tuple[int, int]] = {}  # middle -> its neighbours
        self._settled: set[tuple[int, int]] = set()

    def wanted(self) -> list[int]:
        """Widths to be timed next; none when the grid is fine enough."""
        return self._wanted

    def take(self, times: Times) -> None:
        """Times of the widths that were wanted."""
        self.times.update(times)
        for middle, (a, b) in self._open.items():
            line = self.times[a] + (self.times[b] - self.times[a]) * (middle - a) / (b - a)
            if abs(self.times[middle] / line - 1) <= BENT:
                self._settled |= {(a, middle), (middle, b)}
        places = sorted(self.times)
        pairs = [p for p in zip(places, places[1:], strict=False) if p not in self._settled]
        middles = {_middle(pair, self.step): pair for pair in pairs}
        self._open = {middle: pair for middle, pair in middles.items() if middle is not None}
        self._wanted = sorted(self._open)


def _middle(pair: tuple[int, int], step: int) -> int | None:
    """The multiple of ``step`` nearest to the middle of two widths; None where there is none between them."""
    a, b = pair
    middle = round((a + b) / 2 / step) * step
    return middle if a < middle < b else None
