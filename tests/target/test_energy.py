import pytest
from edgeprune_target.energy import joules_of_counter, joules_of_power, rail_joules, span_s

S = 1_000_000_000


@pytest.mark.parametrize(
    ("times_s", "watts", "joules"),
    [
        ([0, 10], [5, 5], 50),
        ([0, 1, 3], [2, 4, 4], 3 + 8),
        ([0, 4], [0, 10], 20),  # a ramp: half
        ([7], [5], 0),
    ],
)
def test_trapezoid(times_s: list[int], watts: list[float], joules: float) -> None:
    assert joules_of_power([time * S for time in times_s], watts) == pytest.approx(joules)


def test_counter_counts_from_its_first_value() -> None:
    assert joules_of_counter([100.0, 107.0, 112.5]) == 12.5


def test_rails_apart() -> None:
    readings = [(0, {"GPU": 1.0, "CPU": 3.0}), (2 * S, {"GPU": 1.0, "CPU": 5.0})]
    assert rail_joules(readings, "watts") == {"GPU": 2.0, "CPU": 8.0}


def test_reading_that_failed_is_bridged_not_counted_as_zero() -> None:
    readings = [(0, {"A": 5.0}), (4 * S, {}), (10 * S, {"A": 5.0})]
    assert rail_joules(readings, "watts") == {"A": 50.0}
    assert span_s(readings) == 10.0


def test_reading_without_a_rail_does_not_count() -> None:
    readings = [(0, {"A": 1.0, "B": 1.0}), (1 * S, {"A": 9.0}), (2 * S, {"A": 1.0, "B": 1.0})]
    assert rail_joules(readings, "watts") == {"A": 2.0, "B": 2.0}


@pytest.mark.parametrize("readings", [[], [(0, {})], [(0, {"A": 1.0})], [(0, {"A": 1.0}), (S, {})]])
def test_fewer_than_two_readings_are_no_energy(readings: list) -> None:
    assert rail_joules(readings, "watts") == {}
    assert span_s(readings) == 0.0
