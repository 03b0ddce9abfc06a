import pytest
from edgeprune_target.energy import (
    joules_of_counter,
    joules_of_power,
    joules_within,
    longest_gap_s,
    rail_joules,
    span_s,
    uncovered_s,
)

S = 1_000_000_000


@pytest.mark.parametrize(
    ("times_s", "watts", "joules"),
    [
        ([0, 10], [5, 5], 50),
        ([0, 1, 3], [2, 4, 4], 3 + 8),
        ([0, 4], [0, 10], 20),  # a ramp: half
        ([0, 1, 2, 10], [0, 1, 2, 10], 50),  # a ramp, read unevenly
        ([7], [5], 0),
    ],
)
def test_trapezoid(times_s: list[int], watts: list[float], joules: float) -> None:
    assert joules_of_power([time * S for time in times_s], watts) == pytest.approx(joules)


@pytest.mark.parametrize(
    ("times_s", "watts", "joules"),
    [
        ([0, 10], [5, 5], 50),
        ([-2, 12], [5, 5], 50),  # readings around the window
        ([3, 8], [5, 5], 50),  # within: power is held to both ends
        ([-5, 15], [0, 20], 100),  # a ramp from 5 to 15 W
        ([-5, 5, 15], [0, 10, 0], 75),  # a peak of 10 W between two times 5 W
        ([20, 30], [7, 9], 70),  # only after it
    ],
)
def test_energy_is_that_of_the_window(times_s: list[int], watts: list[float], joules: float) -> None:
    assert joules_within([time * S for time in times_s], watts, 0, 10 * S) == pytest.approx(joules)


def test_counter_counts_from_its_first_value() -> None:
    assert joules_of_counter([100.0, 107.0, 112.5]) == 12.5


def test_rails_apart() -> None:
    readings = [(0, {"GPU": 1.0, "CPU": 3.0}), (2 * S, {"GPU": 1.0, "CPU": 5.0})]
    assert rail_joules(readings, "watts", 0, 2 * S) == {"GPU": 2.0, "CPU": 8.0}


def test_reading_that_failed_is_bridged_not_counted_as_zero() -> None:
    readings = [(0, {"A": 5.0}), (4 * S, {}), (10 * S, {"A": 5.0})]
    assert rail_joules(readings, "watts", 0, 10 * S) == {"A": 50.0}
    assert span_s(readings) == 10.0


def test_rail_that_comes_and_goes_is_bridged_by_itself() -> None:
    readings = [(0, {"A": 1.0, "B": 1.0}), (1 * S, {"A": 3.0}), (2 * S, {"A": 1.0, "B": 1.0})]
    assert rail_joules(readings, "watts", 0, 2 * S) == {"A": 4.0, "B": 2.0}


def test_counter_does_not_care_for_the_window() -> None:
    readings = [(0, {"A": 1.0}), (5 * S, {"A": 4.0})]
    assert rail_joules(readings, "joules", S, 2 * S) == {"A": 3.0}


@pytest.mark.parametrize("readings", [[], [(0, {})], [(0, {"A": 1.0})], [(0, {"A": 1.0}), (S, {})]])
def test_fewer_than_two_readings_are_no_energy(readings: list) -> None:
    assert rail_joules(readings, "watts", 0, S) == {}
    assert span_s(readings) == 0.0


@pytest.mark.parametrize(
    ("times_s", "missing_s"), [([0, 10], 0), ([-1, 11], 0), ([1, 8], 3), ([5], 10), ([], 10)]
)
def test_what_the_readings_leave_out(times_s: list[int], missing_s: float) -> None:
    assert uncovered_s([time * S for time in times_s], 0, 10 * S) == missing_s


def test_longest_gap() -> None:
    assert longest_gap_s([0, S, 4 * S, 5 * S]) == 3.0
    assert longest_gap_s([S]) is None
