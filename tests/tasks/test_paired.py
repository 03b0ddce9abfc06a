"""Drops between two models on the same images: against values by hand and against repeated draws."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.tasks.paired import (
    drop_by_blocks,
    drop_by_counts,
    drop_by_images,
    half_width_expected,
)

Z = 1.959964  # of 95 %


def test_counts_by_hand() -> None:
    # 10.5 and 4.5 of 202 images: the middle is 6 / 202, the variance (15 - 36 / 202) / 202^2.
    drop = drop_by_counts(10, 4, 200)
    deviation = math.sqrt(15 - 36 / 202) / 202
    assert drop.value == 0.03 and (drop.images, drop.confidence) == (200, 0.95)
    assert drop.low == pytest.approx(6 / 202 - Z * deviation, abs=1e-6)
    assert drop.high == pytest.approx(6 / 202 + Z * deviation, abs=1e-6)


def test_a_few_images_that_all_agree_prove_little() -> None:
    few, many = drop_by_counts(0, 0, 72), drop_by_counts(0, 0, 10_000)
    assert few.value == 0 and few.high == pytest.approx(Z / 74, abs=1e-6)  # 2.6 points
    assert many.high < 0.0003


@given(st.integers(0, 50), st.integers(0, 50), st.integers(100, 5000))
def test_the_other_way_round_is_the_negative(lost: int, gained: int, images: int) -> None:
    drop, back = drop_by_counts(lost, gained, images), drop_by_counts(gained, lost, images)
    assert (drop.value, drop.low, drop.high) == pytest.approx((-back.value, -back.high, -back.low))
    assert -1 <= drop.low <= drop.high <= 1


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    generator, images = np.random.default_rng(0), 400
    truth, shares = 0.02, (0.05, 0.03, 0.92)  # only the first right, only the second right, both or none
    draws = [generator.multinomial(images, shares) for _ in range(2000)]
    drops = [drop_by_counts(int(lost), int(gained), images) for lost, gained, _ in draws]
    held = np.mean([drop.low <= truth <= drop.high for drop in drops])
    assert 0.935 < held < 0.975


def test_differences_that_are_all_or_nothing_are_counted() -> None:
    assert drop_by_images([1, 0, -1, 1, 0]) == drop_by_counts(2, 1, 5)


def test_other_differences_have_students_interval() -> None:
    # Mean 0.3, standard deviation 0.2 of five: t(4, 97.5 %) = 2.776445.
    drop = drop_by_images([0.1, 0.1, 0.3, 0.5, 0.5])
    assert drop is not None and drop.value == pytest.approx(0.3)
    assert drop.high - drop.value == pytest.approx(2.776445 * 0.2 / math.sqrt(5), rel=1e-6)
    assert drop_by_images([0.5]) is None and drop_by_images([]) is None


def test_blocks_give_the_doubt_and_all_images_the_value() -> None:
    drop = drop_by_blocks(0.05, [0.0, 0.1, math.nan], 30)
    # Standard deviation 0.0707 of two blocks: t(1, 97.5 %) = 12.706205.
    assert drop is not None and drop.value == 0.05 and drop.images == 30
    assert drop.high == pytest.approx(0.05 + 12.706205 * math.sqrt(0.005) / math.sqrt(2), rel=1e-6)
    assert drop_by_blocks(0.05, [0.1], 30) is None


def test_images_that_a_small_drop_takes() -> None:
    assert half_width_expected(72) > 0.02
    assert half_width_expected(2500) < 0.005 < half_width_expected(1000)
