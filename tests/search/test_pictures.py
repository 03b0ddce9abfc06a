"""What the pictures are made of."""

from types import SimpleNamespace

import numpy as np
import pytest

from edgeprune.search.pictures import best_so_far, height, pareto, strategy_of


def test_best_so_far_never_falls() -> None:
    trials = [SimpleNamespace(reward=value) for value in (0.3, 0.5, 0.4, 0.6)]
    assert best_so_far(SimpleNamespace(trials=trials)).tolist() == [0.3, 0.5, 0.5, 0.6]


def test_the_front_is_what_nothing_beats_in_both() -> None:
    """(1, 2) is beaten by (1, 3); (2, 3) costs more for no more; (4, 1) is the worst."""
    x, y = np.array([1, 1, 2, 3, 4]), np.array([2, 3, 3, 5, 1])
    assert pareto(x, y) == [1, 3]


def test_a_tree_is_cut_between_two_joins() -> None:
    """Four groups that join at 1, 2 and 5: three clusters are between 1 and 2, two between 2 and 5."""
    links = np.array([[0, 1, 1.0, 2], [2, 3, 2.0, 2], [4, 5, 5.0, 4]])
    assert [height(links, clusters) for clusters in (3, 2)] == [1.5, 3.5]
    assert height(links, 1) > 5 and 0 < height(links, 4) < 1


@pytest.mark.parametrize(
    ("strategy", "name"),
    [
        (("gp", None, None), "plain BO"),
        (("random", None, None), "random"),
        (("gp", 3, "gradual"), "clusters, gradual rollback"),
        (("tpe", 3, "none"), "clusters (tpe)"),
    ],
)
def test_strategies_have_names(strategy: tuple[str, int | None, str | None], name: str) -> None:
    assert strategy_of(*strategy) == name
