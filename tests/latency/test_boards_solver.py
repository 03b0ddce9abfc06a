"""Costs of several boards: the worst counts, whichever that is."""

import numpy as np

from edgeprune.latency.boards_solver import WorstByWidths


def test_the_worst_after_a_move_may_be_another_board() -> None:
    """Costs 10 x0 + x1 and 9 x0 + 4 x1: at (1, 0) the first is the worse off, after x1 grows the second."""

    class Linear:
        def __init__(self, *slopes: int) -> None:
            self.slopes = np.array(slopes)

        def __call__(self, widths: np.ndarray) -> float:
            return float(self.slopes @ widths)

        def moved(
            self, widths: np.ndarray, before: float, groups: tuple[int, ...], to: tuple[int, ...]
        ) -> float:
            return before + sum(
                self.slopes[group] * (width - widths[group]) for group, width in zip(groups, to, strict=True)
            )

    cost = WorstByWidths([(1.0, Linear(10, 1)), (1.0, Linear(9, 4))])
    at = np.array([1, 0])
    assert cost(at) == 10
    assert cost.moved(at, 10.0, (1,), (1,)) == 13
    assert cost.moved(np.array([1, 1]), 13.0, (0, 1), (2, 0)) == 20
