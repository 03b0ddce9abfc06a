"""Uniform ratios and greedy ones, by hand."""

from edgeprune.search.baselines import LEVELS, by_sensitivity, probed, probes
from search.test_projection import projection


def test_each_group_is_probed_alone() -> None:
    budget = projection(15, "scale")
    assert len(probes(2)) == 2 * len(LEVELS)
    assert [probed(budget, probe).tolist() for probe in probes(2)[:4]] == [[2, 10], [5, 10], [8, 10], [10, 2]]


def test_the_group_that_loses_least_for_what_it_saves_gives_way() -> None:
    """The first loses nothing down to a quarter, so it gives all that it can there: 7 of its 10."""
    harmless, harmful = [1.0, 1.0, 1.0], [0.1, 0.4, 0.7]
    budget = projection(23, "scale")
    assert by_sensitivity(budget, 1.0, [*harmless, *harmful]).tolist() == [3, 10]
    # a loss of 0.3 for 0.25 of the second saves 5, of the first 2.5: at equal loss the second goes first
    result = by_sensitivity(projection(20, "scale"), 1.0, [*harmful, *harmful])
    assert result[0] == 10 and result.tolist() == [10, 5]
