"""Which groups are searched, and what widths mean."""

import numpy as np

from search.conftest import chain, variables_of


def test_groups_in_the_networks_order_with_their_best_channels_first() -> None:
    found = variables_of(chain(3, 8, 6, 2))
    assert found.names == ["0", "2"] and found.sizes.tolist() == [8, 6]
    assert found.lowest.tolist() == [2, 2]  # the floor; a tenth is less
    assert found.ranked[0].tolist() == [7, 6, 5, 4, 3, 2, 1, 0]
    plan = found.plan(np.array([3, 6]))
    assert np.flatnonzero(~plan.keep).tolist() == [0, 1, 2, 3, 4]
    assert found.everywhere(np.array([3, 6])).tolist() == [3, 6]
    assert found.ratios(np.array([2, 3])).tolist() == [0.25, 0.5]


def test_least_widths_are_rounded_up_to_steps_and_what_cannot_shrink_is_left_out() -> None:
    graph = chain(3, 8, 6, 2)
    found = variables_of(graph, share=0.3, steps=np.array([4, 16]))
    assert found.names == ["0"] and found.lowest.tolist() == [4] and found.steps.tolist() == [4]
    assert found.everywhere(np.array([4])).tolist() == [4, 6]
