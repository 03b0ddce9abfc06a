"""Checks of counts, quantities, choices and text."""

import math

import numpy as np
import pytest

from edgeprune.errors import EdgePruneError, TrainError
from edgeprune.options import bounds
from edgeprune.options.checks import Choice, Count, Pattern, Quantity, Text, short

COUNTS = {name: bound for name, bound in vars(bounds).items() if isinstance(bound, Count)}
QUANTITIES = {name: bound for name, bound in vars(bounds).items() if isinstance(bound, Quantity)}


@pytest.mark.parametrize("name", COUNTS)
def test_the_ends_of_a_count_are_fine_and_what_is_beyond_them_is_not(name: str) -> None:
    bound = COUNTS[name]
    bound("`n`", bound.least)
    bound("`n`", np.int64(bound.most))
    with pytest.raises(EdgePruneError, match=f"must be at least {bound.least}, not {bound.least - 1}"):
        bound("`n`", bound.least - 1)
    with pytest.raises(EdgePruneError, match="must be at most"):
        bound("`n`", bound.most + 1)


@pytest.mark.parametrize("value", [1.0, 2.5, "3", None, True, math.nan, [1]])
def test_what_is_no_whole_number(value: object) -> None:
    with pytest.raises(TrainError, match="^`batch_size` must be a whole number, not "):
        bounds.IMAGES_PER_BATCH("`batch_size`", value, TrainError)


@pytest.mark.parametrize("value", ["0.1", None, True, 1j, [0.1]])
def test_what_is_no_number(value: object) -> None:
    with pytest.raises(TrainError, match="^rate must be a number, not "):
        bounds.RATE("rate", value, TrainError)


@pytest.mark.parametrize("name", QUANTITIES)
def test_the_ends_of_a_quantity(name: str) -> None:
    bound = QUANTITIES[name]
    for end, is_open in ((bound.low, bound.open_low), (bound.high, bound.open_high)):
        if is_open:
            with pytest.raises(EdgePruneError, match=f"^x must be {bound.range}, not "):
                bound("x", end)
        else:
            bound("x", end)
    for beyond in (math.nan, math.inf, -math.inf, math.nextafter(bound.low, -1), bound.high * 1.01):
        with pytest.raises(EdgePruneError, match=f"^x must be {bound.range}, not "):
            bound("x", beyond)


def test_bounds_in_words() -> None:
    assert Quantity(0, 1, open_low=True).range == "above 0 and at most 1"
    assert Quantity(0, 0.5, open_high=True).range == "at least 0 and below 0.5"


def test_a_choice_hints_at_the_near_miss_and_asks_for_its_names_when_it_must() -> None:
    names = ["mean"]
    choice = Choice(lambda: tuple(names))
    names += ["max", "sum"]
    choice("`reduction`", "sum")
    assert choice.text == "mean, max or sum"
    with pytest.raises(
        TrainError, match=r"^`reduction`: unknown reduction 'sun' \(did you mean 'sum'\?\); known: "
    ):
        choice("`reduction`", "sun", TrainError)
    with pytest.raises(TrainError, match="^--reduction is empty: give a value, or leave it out$"):
        choice("--reduction", " ", TrainError)
    assert Choice(("one",)).text == "one"


def test_a_pattern_says_its_forms() -> None:
    pattern = Pattern("cpu|cuda:[0-9]", ("cpu", "cuda:N"))
    pattern("`device`", "cuda:3")
    with pytest.raises(
        TrainError, match="^`device`: unknown device 'cpuu' .did you mean 'cpu'.*write cpu or cuda:N$"
    ):
        pattern("`device`", "cpuu", TrainError)
    with pytest.raises(TrainError, match="unknown device '3'"):
        pattern("`device`", 3, TrainError)


def test_text_has_something_in_it() -> None:
    Text()("`opaque`", ["head", "neck"])
    for value in ("", " ", "\t"):
        with pytest.raises(EdgePruneError, match="^`study` is empty"):
            Text()("`study`", value)
    with pytest.raises(TrainError, match="^`opaque` has an empty name"):
        Text()("`opaque`", ["head", " "], TrainError)


def test_a_message_stays_short() -> None:
    assert short(10**40) == "a number of more than 30 digits"
    assert len(short("x" * 1000)) == 60
    assert short(10**5000) == "a number of more than 30 digits"
