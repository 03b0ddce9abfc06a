"""Densities, distances and cuts against small cases worked out by hand."""

import numpy as np
import pytest

from edgeprune.errors import SearchError
from edgeprune.search.clusters import Dendrogram, densities, distances, features, median_scaled, members
from edgeprune.search.variables import Variables
from search.conftest import chain, variables_of


def with_importance(*groups: list[float]) -> Variables:
    """A chain whose groups have this importance."""
    graph = chain(3, *[len(values) for values in groups], 2)
    return Variables.of(graph, np.concatenate([np.array(values) for values in groups]))


def test_importance_is_about_its_median_in_medians() -> None:
    assert median_scaled(np.array([1.0, 2.0, 6.0])).tolist() == [-0.5, 0.0, 2.0]
    assert median_scaled(np.array([0.0, 0.0, 3.0])).tolist() == [0.0, 0.0, 1.0]  # a median of 0 is no unit
    assert median_scaled(np.zeros(3)).tolist() == [0.0, 0.0, 0.0]


def test_a_density_is_a_sum_of_bells() -> None:
    """Two channels at -1 and 1: Scott's bandwidth is sqrt(2) 2^(-1/5)."""
    values = np.array([-1.0, 1.0])
    width = np.sqrt(2) * 2**-0.2
    grid = np.linspace(-1 - 3 * width, 1 + 3 * width, 1000)
    bells = np.exp(-((grid - 1) ** 2) / (2 * width**2)) + np.exp(-((grid + 1) ** 2) / (2 * width**2))
    assert densities([values])[0] == pytest.approx(bells / bells.sum(), rel=1e-6)


def test_channels_that_are_all_alike_have_a_density_too() -> None:
    result = densities([np.zeros(4), np.array([-1.0, 0.0, 1.0]), np.zeros(1)])
    assert np.isfinite(result).all() and result.sum(1) == pytest.approx(1.0)
    assert result[0].max() > 5 * result[1].max()


def test_groups_that_differ_in_scale_alone_are_at_no_distance() -> None:
    variables = with_importance([1, 2, 3, 4], [10, 20, 30, 40], [1, 1, 1, 9])
    for kind in ("eu", "js"):
        same, far, far_too = distances(variables, kind)
        assert same == pytest.approx(0, abs=1e-6) and far == pytest.approx(far_too, rel=1e-6)
        assert far > 0.01


def test_jensen_shannon_by_its_formula() -> None:
    variables = with_importance([1, 2, 3, 4], [1, 1, 1, 9])
    p, q = densities([median_scaled(values) for values in variables.importance])
    middle = (p + q) / 2
    divergence = (p * np.log(p / middle)).sum() / 2 + (q * np.log(q / middle)).sum() / 2
    assert distances(variables, "js") == pytest.approx([np.sqrt(divergence)])


def test_structure() -> None:
    """Columns over their largest: sizes 4 and 8; one layer writes, one reads; 3 x 3; outputs 8 and 2.

    Parameters of a channel: 9 (3 + 8) and 9 (4 + 2); FLOPs are 16 times that.
    """
    result = features(variables_of(chain(3, 4, 8, 2)))
    assert result.tolist() == [
        pytest.approx([0.5, 1, 1, 1, 1, 1, 1]),
        pytest.approx([1, 1, 1, 1, 0.25, 54 / 99, 54 / 99]),
    ]


def test_cuts_are_nested_and_numbered_by_appearance() -> None:
    a, b, c = [1, 2, 3, 4], [1, 1, 1, 9], [5, 5, 5, 5.1]
    tree = Dendrogram.of(with_importance(b, a, a, c, b))
    assert tree.cut(3) == (0, 1, 1, 2, 0)
    two, five = tree.cut(2), tree.cut(5)
    assert five == (0, 1, 2, 3, 4) and tree.cut(1) == (0,) * 5
    for cluster in members(tree.cut(3)):
        assert len({two[group] for group in cluster}) == 1
    assert Dendrogram.of(with_importance(a)).cut(1) == (0,)
    with pytest.raises(SearchError, match="6 clusters of 5 groups of channels: make `clusters` at most 5"):
        tree.cut(6)
