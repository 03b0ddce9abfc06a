"""A policy that was evaluated before is not asked for again, while there is another near to it."""

from types import SimpleNamespace

import numpy as np

from edgeprune.search.objective import Objective
from edgeprune.search.options import SearchOptions
from edgeprune.search.strategy import SearchStage
from search.test_projection import projection


def requested(widths_known: list[list[int]], goal: float = 15) -> list[int]:
    """What comes of asking for (1, 1), which is (5, 5) of 15, when these are known."""
    context = SimpleNamespace(projection=projection(goal, "scale"), options=SearchOptions(source="x", seed=3))
    stage = SearchStage("layers", (0, 1), (0.1, 0.1), (1.0, 1.0))
    known = {tuple(widths) for widths in widths_known}
    objective = Objective(context)  # type: ignore[arg-type]
    return objective._new(len(known), stage, np.array([1.0, 1.0]), known).tolist()


def test_a_new_policy_is_as_it_was_asked_for() -> None:
    assert requested([]) == [5, 5] and requested([[7, 4]]) == [5, 5]


def test_a_known_one_strays_to_a_neighbour_on_the_budget() -> None:
    result = requested([[5, 5]])
    assert result != [5, 5] and result[0] + 2 * result[1] <= 15
    assert abs(result[0] - 5) <= 3 and abs(result[1] - 5) <= 2
    assert requested([[5, 5]]) == result  # the same for the same seed and number


def test_where_there_is_but_one_policy_it_comes_again() -> None:
    assert requested([[10, 10]], goal=30) == [10, 10]
