import pytest

from edgeprune.comparison.spread import mean_and_spread


def test_mean_and_sample_deviation_by_hand() -> None:
    found = mean_and_spread([0.9, 0.96, 0.93])
    assert found["mean"] == pytest.approx(0.93)
    assert found["std"] == pytest.approx(0.03)  # sqrt((0.03**2 + 0.03**2) / 2)
    assert found["std_reason"] is None
    assert found["values"] == [0.9, 0.96, 0.93] and found["missing"] == 0


def test_one_value_has_no_spread() -> None:
    found = mean_and_spread([None, 2])
    assert (found["mean"], found["std"], found["missing"]) == (2.0, None, 1)
    assert found["std_reason"] == "1 measured: a spread needs two"


def test_nothing_measured_is_no_number() -> None:
    found = mean_and_spread([None, None])
    assert found["mean"] is None and found["std"] is None and found["missing"] == 2
