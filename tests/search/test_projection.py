"""The budget projection on costs that can be worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.errors import TargetError
from edgeprune.search.projection import BudgetProjection


def projection(goal: float, mode: str, sizes=(10, 10), lowest=(1, 1), steps=(1, 1)) -> BudgetProjection:
    """Return a projection with a cost of 1 for each channel of the first group, and 2 for each of the second."""
    return BudgetProjection(
        {"flops": lambda w: float(w[0] + 2 * w[1])},
        {"flops": goal},
        np.array(lowest),
        np.array(sizes),
        np.array(steps),
        mode,
    )


def test_what_comes_first_is_served_first() -> None:
    """Of 15: the first may have 10 and leaves 5, so the second gets 2, and 1 is left that buys nothing."""
    assert projection(15, "sequential").project(np.array([1.0, 1.0])).tolist() == [10, 2]
    # the first keeps what the least of the second leaves it: 15 - 2 * 4 = 7
    assert projection(15, "sequential", lowest=(1, 4)).project(np.array([1.0, 1.0])).tolist() == [7, 4]


def test_all_give_way_alike() -> None:
    """w, w with 3 w <= 15."""
    assert projection(15, "scale").project(np.array([1.0, 1.0])).tolist() == [5, 5]
    # 1 : 0.5 on 16 is 8, 4; on 17 there is one more for the first, which rounding took most from
    assert projection(16, "scale").project(np.array([1.0, 0.5])).tolist() == [8, 4]
    assert projection(17, "scale").project(np.array([1.0, 0.5])).tolist() == [9, 4]


@pytest.mark.parametrize("mode", ["scale", "sequential"])
def test_who_asks_for_less_than_there_is_gets_more(mode: str) -> None:
    """0.1 and 0.1 is 1, 1: a cost of 3 of 15. Both grow by one factor."""
    assert projection(15, mode).project(np.array([0.1, 0.1])).tolist() == [5, 5]


def test_steps_are_kept_and_whole_groups_may_be_none() -> None:
    budget = projection(20, "scale", sizes=(10, 9), lowest=(4, 4), steps=(4, 4))
    assert budget.project(np.array([1.0, 1.0])).tolist() == [10, 4]  # 8, 8 would be 24; whole is 10
    assert budget.project(np.array([1.0, 0.1])).tolist() == [10, 4]


def test_out_of_reach_says_how_far_it_goes() -> None:
    with pytest.raises(TargetError, match=r"flops=0.0667 cannot be reached.* 0.100 of the flops"):
        projection(2, "scale").check()
    projection(3, "scale").check()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3),
    st.floats(0.15, 1.0),
    st.sampled_from(["scale", "sequential"]),
    st.lists(st.integers(1, 4), min_size=3, max_size=3),
)
def test_every_policy_is_on_the_budget(
    ratios: list[float], share: float, mode: str, steps: list[int]
) -> None:
    sizes, lowest = np.array([16, 24, 8]), np.array(steps)

    def cost(w: np.ndarray) -> float:
        return float(9 * w[0] + w[0] * w[1] + w[1] * w[2])

    goal = max(share * cost(sizes), cost(lowest))
    budget = BudgetProjection({"flops": cost}, {"flops": goal}, lowest, sizes, np.array(steps), mode)
    widths = budget.project(np.array(ratios))
    assert budget.fits(widths) and (widths >= lowest).all() and (widths <= sizes).all()
    assert all(w % s == 0 or w == size for w, s, size in zip(widths, steps, sizes, strict=True))
    # what is left would not do for one step more of every group that has room
    more = np.minimum(sizes, (widths // np.array(steps) + 1) * np.array(steps))
    assert (widths == sizes).all() or not budget.fits(more)
