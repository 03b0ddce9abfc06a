"""A policy that was evaluated before is not asked for again, while there is another near to it."""

from types import SimpleNamespace

import numpy as np

from edgeprune.search.objective import Objective
from edgeprune.search.options import SearchOptions
from edgeprune.search.strategy import SearchStage
from search.test_projection import projection


def asked(widths_known: list[list[int]], goal: float = 15) -> list[int]:
    """What comes of asking for (1, 1), which is (5, 5) of 15, when these are known."""
    context = SimpleNamespace(projection=projection(goal, "scale"), options=SearchOptions(source="x", seed=3))
    stage = SearchStage("layers", (0, 1), (0.1, 0.1), (1.0, 1.0))
    known = {tuple(widths) for widths in widths_known}
    objective = Objective(context)  # type: ignore[arg-type]
    return objective._new(len(known), stage, np.array([1.0, 1.0]), known).tolist()


def test_a_new_policy_is_as_it_was_asked_for() -> None:
    assert asked([]) == [5, 5] and asked([[7, 4]]) == [5, 5]


def test_a_known_one_strays_to_a_neighbour_on_the_budget() -> None:
    found = asked([[5, 5]])
    assert found != [5, 5] and found[0] + 2 * found[1] <= 15
    assert abs(found[0] - 5) <= 3 and abs(found[1] - 5) <= 2
    assert asked([[5, 5]]) == found  # the same for the same seed and number


def test_where_there_is_but_one_policy_it_comes_again() -> None:
    assert asked([[10, 10]], goal=30) == [10, 10]
