"""Clusters, then rollback: stages as a function of what was evaluated."""

import numpy as np
import pytest

from edgeprune.search.clusters import Dendrogram
from edgeprune.search.options import SearchOptions
from edgeprune.search.strategy import Stage, Strategy, box
from search.test_clusters import with_importance

A, B, C = [1, 2, 3, 4], [1, 1, 1, 9], [5, 5, 5, 5.1]


def strategy(**options: object) -> Strategy:
    """Of 5 groups in 3 clusters and 200 trials."""
    asked = {"source": "x", "clusters": 3, "bridge": 4, **options}
    return Strategy(SearchOptions(**asked), Dendrogram.of(with_importance(B, A, A, C, B)))  # type: ignore


def rising(count: int) -> tuple[list[float], list[np.ndarray]]:
    """Each better than the one before."""
    return [0.001 * i for i in range(count)], [np.full(5, 0.3 + 0.002 * i) for i in range(count)]


def test_it_begins_with_clusters() -> None:
    first = strategy().stage([], [])
    assert (first.name, first.labels, first.low, first.high) == (
        "clusters",
        (0, 1, 1, 2, 0),
        (0.1,) * 3,
        (1.0,) * 3,
    )
    assert first.expand([0.2, 0.4, 0.6]).tolist() == [0.2, 0.4, 0.4, 0.6, 0.2]
    assert strategy(clusters=0).stage([], []).labels == (0, 1, 2, 3, 4)
    assert strategy(sampler="uniform").first().name == "layers"


def test_a_policy_is_known_by_what_it_really_kept() -> None:
    stage = Stage("clusters", (0, 1, 1), (0.2, 0.3), (0.8, 0.9))
    assert stage.reduce(np.array([0.1, 0.4, 0.6])).tolist() == [0.1, 0.5]  # a mean


@pytest.mark.parametrize(
    ("rollback", "at", "names"),
    [
        ("none", (99, 100, 150), ["clusters"] * 3),
        ("direct", (99, 100, 150), ["clusters", "layers", "layers"]),
        ("gradual", (99, 100, 149, 150), ["clusters", "bridge", "bridge", "layers"]),
    ],
)
def test_while_it_improves_stages_last_as_long_as_the_source_has_them(
    rollback: str, at: tuple[int, ...], names: list[str]
) -> None:
    assert [strategy(rollback=rollback).stage(*rising(count)).name for count in at] == names


def test_a_stage_that_stopped_improving_ends_early_but_not_before_it_is_armed() -> None:
    rewards, policies = rising(100)
    stale = [0.5, *[0.1] * 99]  # the first is the best
    assert strategy(rollback="direct").stage(stale[:79], policies[:79]).name == "clusters"
    assert strategy(rollback="direct").stage(stale[:80], policies[:80]).name == "layers"
    late = [*rewards[:70], *[0.0] * 30]  # improved until 70: 20 later is 90
    assert strategy(rollback="direct").stage(late[:89], policies[:89]).name == "clusters"
    assert strategy(rollback="direct").stage(late[:90], policies[:90]).name == "layers"


def test_patience_begins_anew_with_a_stage() -> None:
    rewards = [0.5, *[0.1] * 199]
    policies = [np.full(5, 0.5)] * 200
    names = [strategy().stage(rewards[:n], policies[:n]).name for n in (80, 129, 130)]
    assert names == ["bridge", "bridge", "layers"]


def test_what_is_decided_stays_decided() -> None:
    """The box of a stage is of the policies before it, whatever comes after."""
    rewards, policies = rising(100)
    before = strategy(rollback="direct").stage(rewards, policies)
    after = strategy(rollback="direct").stage([*rewards, 0.9], [*policies, np.full(5, 0.9)])
    assert before == after
    assert before.low == pytest.approx((0.38,) * 5) and before.high == pytest.approx((0.598,) * 5)


def test_the_box_of_each_variable_holds_the_ten_best_policies_and_a_margin() -> None:
    policies = [np.array([0.03 * i, 0.03 * i + 0.1, 0.9]) for i in range(20)]
    made = box("bridge", (0, 0, 1), [float(i) for i in range(20)], policies, 0.1)
    assert made.labels == (0, 0, 1)  # the first variable is 0.35 to 0.62 in the ten best
    assert made.low == pytest.approx((0.25, 0.8)) and made.high == pytest.approx((0.72, 1.0))
    edge = box("layers", (0, 1), [1.0], [np.array([0.1, 1.0])], 0.1)  # never a point
    assert edge.low == pytest.approx((0.1, 0.9)) and edge.high == pytest.approx((0.2, 1.0))
