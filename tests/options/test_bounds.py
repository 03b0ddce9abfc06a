"""Bounds of counts and quantities."""

import math

import numpy as np
import pytest

from edgeprune.errors import EdgePruneError, TrainError
from edgeprune.options.bounds import COUNTS, QUANTITIES, check_count, check_quantity, short


@pytest.mark.parametrize("name", COUNTS)
def test_the_ends_of_a_count_are_fine_and_what_is_beyond_them_is_not(name: str) -> None:
    least, most = COUNTS[name]
    check_count(name, least)
    check_count(name, np.int64(most))
    with pytest.raises(EdgePruneError, match=f"must be at least {least}, not {least - 1}"):
        check_count(name, least - 1)
    with pytest.raises(EdgePruneError, match="must be at most"):
        check_count(name, most + 1)


@pytest.mark.parametrize("value", [1.0, 2.5, "3", None, True, math.nan, [1]])
def test_what_is_no_whole_number(value: object) -> None:
    with pytest.raises(TrainError, match="^--batch-size must be a whole number, not "):
        check_count("batch_size", value, TrainError)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "0.1", None, True, 1j])
def test_what_is_no_finite_number(value: object) -> None:
    with pytest.raises(TrainError, match="^rate must be a finite number, not "):
        check_quantity("lr", value, TrainError, option="rate")


@pytest.mark.parametrize("name", QUANTITIES)
def test_the_most_of_a_quantity(name: str) -> None:
    check_quantity(name, QUANTITIES[name])
    with pytest.raises(EdgePruneError, match="must be at most"):
        check_quantity(name, QUANTITIES[name] * 1.01)


def test_a_message_stays_short() -> None:
    assert short(10**40) == "a number of more than 30 digits"
    assert len(short("x" * 1000)) == 60
    assert short(10**5000) == "a number of more than 30 digits"
