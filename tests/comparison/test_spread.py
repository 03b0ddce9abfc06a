import pytest

from edgeprune.comparison.spread import mean_and_spread


def test_mean_and_sample_deviation_by_hand() -> None:
    average = mean_and_spread([0.9, 0.96, 0.93])
    assert average["mean"] == pytest.approx(0.93)
    assert average["std"] == pytest.approx(0.03)  # sqrt((0.03**2 + 0.03**2) / 2)
    assert average["std_reason"] is None
    assert average["values"] == (0.9, 0.96, 0.93) and average["missing"] == 0


def test_one_value_has_no_spread() -> None:
    average = mean_and_spread([None, 2])
    assert (average["mean"], average["std"], average["missing"]) == (2.0, None, 1)
    assert average["std_reason"] == "1 measured: a spread needs two"


def test_nothing_measured_is_no_number() -> None:
    average = mean_and_spread([None, None])
    assert average["mean"] is None and average["std"] is None and average["missing"] == 2
