import numpy as np
import pytest

from edgeprune.data.split import shares, stratified_split


@pytest.mark.parametrize(
    ("sizes", "count", "expected"),
    [
        ([10, 10], 4, [2, 2]),
        ([30, 10], 4, [3, 1]),
        ([10, 10, 10], 1, [1, 0, 0]),  # all remainders 1/3: the first wins
        ([7, 3], 5, [4, 1]),  # exact 3.5 and 1.5: floor 3 and 1, then the first of the tie
        ([1, 9], 5, [0, 5]),  # exact 0.5 and 4.5, but a single image is never taken
        ([1, 1], 1, [0, 0]),  # nothing can be spared
        ([5, 5], 0, [0, 0]),
    ],
)
def test_shares(sizes: list[int], count: int, expected: list[int]) -> None:
    assert shares(np.array(sizes), count).tolist() == expected


def test_split_partitions_and_keeps_proportions() -> None:
    labels = np.repeat([0, 1, 2], [40, 20, 10])
    kept, held = stratified_split(labels, 7, seed=3)
    assert sorted([*kept, *held]) == list(range(70))
    assert np.bincount(labels[held]).tolist() == [4, 2, 1]


def test_split_depends_on_seed_alone() -> None:
    labels = np.repeat([0, 1], 50)
    first, again, other = (stratified_split(labels, 10, seed=seed)[1].tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_negative_seed_is_a_seed_too() -> None:
    assert len(stratified_split(np.repeat([0, 1], 50), 10, seed=-1)[1]) == 10
