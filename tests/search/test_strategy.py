"""Clusters, then rollback: stages as a function of what was evaluated."""

import numpy as np
import pytest

from edgeprune.search.clusters import Dendrogram
from edgeprune.search.options import SearchOptions
from edgeprune.search.strategy import SearchStage, Strategy, box
from search.test_clusters import with_importance

A, B, C = [1, 2, 3, 4], [1, 1, 1, 9], [5, 5, 5, 5.1]


def strategy(**options: object) -> Strategy:
    """Of 5 groups in 3 clusters and 200 trials."""
    requested = {"source": "x", "clusters": 3, "bridge": 4, **options}
    return Strategy(SearchOptions(**requested), Dendrogram.of(with_importance(B, A, A, C, B)))  # type: ignore


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
    stage = SearchStage("clusters", (0, 1, 1), (0.2, 0.3), (0.8, 0.9))
    assert stage.reduce(np.array([0.1, 0.4, 0.6])).tolist() == [0.1, 0.5]  # a mean


@pytest.mark.parametrize(
    ("rollback", "at", "names"),
    [
        ("none", (59, 60, 150), ["clusters"] * 3),
        ("direct", (59, 60, 150), ["clusters", "layers", "layers"]),
        ("gradual", (59, 60, 79, 80), ["clusters", "bridge", "bridge", "layers"]),
    ],
)
def test_while_it_improves_stages_last_as_long_as_they_may(
    rollback: str, at: tuple[int, ...], names: list[str]
) -> None:
    assert [strategy(rollback=rollback).stage(*rising(count)).name for count in at] == names


def test_a_stage_that_stopped_improving_ends_early_but_not_before_it_is_armed() -> None:
    rewards, policies = rising(100)
    stale = [0.5, *[0.1] * 99]  # the first is the best
    assert strategy(rollback="direct").stage(stale[:29], policies[:29]).name == "clusters"
    assert strategy(rollback="direct").stage(stale[:30], policies[:30]).name == "layers"
    late = [*rewards[:25], *[0.0] * 30]  # improved until 25: 20 later is 45
    assert strategy(rollback="direct").stage(late[:44], policies[:44]).name == "clusters"
    assert strategy(rollback="direct").stage(late[:45], policies[:45]).name == "layers"


def test_patience_begins_anew_with_a_stage() -> None:
    rewards = [0.5, *[0.1] * 199]
    policies = [np.full(5, 0.5)] * 200
    names = [strategy().stage(rewards[:n], policies[:n]).name for n in (30, 59, 60)]
    assert names == ["bridge", "bridge", "layers"]


def test_what_is_decided_stays_decided_and_the_box_goes_with_the_best() -> None:
    rewards, policies = rising(100)  # of 200: the box reaches 0.06 to each side
    before = strategy(rollback="direct").stage(rewards, policies)  # the ten best keep 0.48 to 0.498
    assert before.low == pytest.approx((0.429,) * 5) and before.high == pytest.approx((0.549,) * 5)
    after = strategy(rollback="direct").stage([*rewards, *[0.9] * 10], [*policies, *[np.full(5, 0.9)] * 10])
    assert after.name == before.name and after.labels == before.labels
    assert after.low == pytest.approx((0.844,) * 5) and after.high == pytest.approx((0.956,) * 5)


def test_the_box_lies_about_the_mean_of_the_ten_best_and_narrows() -> None:
    policies = [np.array([0.03 * i, 0.03 * i + 0.1, 0.9]) for i in range(20)]
    rewards = [float(i) for i in range(20)]
    made = box("bridge", (0, 0, 1), rewards, policies, 0.1, 0.5)
    assert made.labels == (
        0,
        0,
        1,
    )  # the ten best have 0.485 in the mean, and half of the way 0.06 is the margin
    assert made.low == pytest.approx((0.425, 0.84)) and made.high == pytest.approx((0.545, 0.96))
    late = box("bridge", (0, 0, 1), rewards, policies, 0.1, 0.0)
    assert late.low == pytest.approx((0.465, 0.88)) and late.high == pytest.approx((0.505, 0.92))
    edge = box("layers", (0, 1), [1.0], [np.array([0.1, 1.0])], 0.1, 1.0)  # never a point
    assert edge.low == pytest.approx((0.1, 0.9)) and edge.high == pytest.approx((0.2, 1.0))
