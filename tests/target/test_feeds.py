import numpy as np
import pytest
from edgeprune_target.errors import TargetError
from edgeprune_target.feeds import random_feed, with_batch

FREE_BATCH = {"input": ((None, 3, 4, 4), "float32")}


def test_batch_takes_the_free_first_size() -> None:
    feed = random_feed(FREE_BATCH, batch=5, shapes={})
    assert feed["input"].shape == (5, 3, 4, 4)
    assert feed["input"].dtype == np.float32


def test_same_numbers_every_time() -> None:
    first, second = (random_feed(FREE_BATCH, 2, {})["input"] for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("key", ["input", ""])
def test_given_shape_wins(key: str) -> None:
    free = {"input": ((None, 3, None, None), "float32")}
    assert random_feed(free, 1, {key: (2, 3, 8, 8)})["input"].shape == (2, 3, 8, 8)


def test_whole_numbers_are_zero() -> None:
    feed = random_feed({"ids": ((None, 2), "int64")}, 3, {})
    np.testing.assert_array_equal(feed["ids"], np.zeros((3, 2), np.int64))


def test_several_inputs_with_a_mask() -> None:
    inputs = {"x": ((None, 3), "float32"), "mask": ((None, None), "bool")}
    feed = random_feed(inputs, 2, {"mask": (2, 7)})
    assert feed["x"].shape == (2, 3)
    np.testing.assert_array_equal(feed["mask"], np.ones((2, 7), bool))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"input": ((None, 3, None, 4), "float32")}, "--shape input="),
        ({"input": ((4, 3), "float32")}, "fixed batch 4"),
        ({"input": ((1, 3), "tensor(string)")}, "export it as float32"),
    ],
)
def test_what_cannot_be_fed(inputs: dict, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        random_feed(inputs, 1, {})


def test_fixed_batch_that_fits() -> None:
    assert with_batch("x", (4, 3), 4) == (4, 3)
