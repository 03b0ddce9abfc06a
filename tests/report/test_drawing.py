"""Scales, and places of texts, by hand."""

import pytest

from edgeprune.report.drawing import Scale, first_rows, within


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0, 1], ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([3, 97], ["0", "20", "40", "60", "80", "100"]),
        ([0.992, 0.9979], ["0.992", "0.994", "0.996", "0.998"]),
        ([0, 4300], ["0", "1,000", "2,000", "3,000", "4,000", "5,000"]),
        ([], ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
    ],
)
def test_ticks_are_round_and_hold_all_values(values: list[float], ticks: list[str]) -> None:
    assert [text for _, text in Scale(values, 0, 100).ticks()] == ticks


def test_a_scale_is_linear_and_may_run_upwards() -> None:
    scale = Scale([0, 10], 200, 0)
    assert [scale(value) for value in (0, 2.5, 10)] == [200, 150, 0]


def test_equal_values_have_a_scale_around_them() -> None:
    scale = Scale([7.0, 7.0], 0, 100)
    assert scale.low < 7 < scale.high


def test_infinite_values_do_not_stretch_a_scale() -> None:
    assert Scale([0, 10, float("inf"), float("nan")], 0, 1).high == 10


def test_fewer_ticks_are_wider_apart() -> None:
    assert [text for _, text in Scale([0, 100], 0, 100, ticks=3).ticks()] == ["0", "50", "100"]


def test_a_text_stays_between_two_pixels() -> None:
    """Ten letters take 70 pixels: their middle is 35 from an end at the least."""
    assert [within(middle, "0123456789", 0, 100) for middle in (10, 50, 95)] == [35, 50, 65]
    assert within(10, "0123456789" * 2, 0, 100) == 50  # too long


def test_spans_take_the_first_row_that_is_free() -> None:
    assert first_rows([(0, 10), (10, 20), (5, 15), (12, 30), (18, 25)]) == [0, 0, 1, 2, 1]
