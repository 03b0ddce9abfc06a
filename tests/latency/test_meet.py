"""The loop of choosing and measuring, on a device made by hand."""

import numpy as np
import pytest

from edgeprune.latency.meet import meet
from edgeprune.plan import Plan


def device(truth, step: float = 0.0):
    """choose and measure, where ``truth`` maps the table's share to the measured one."""
    calls: list[float] = []

    def choose(asked: float):
        predicted = asked if not step else max(step, step * int(asked / step + 1e-9))
        keep = np.arange(1000) < round(1000 * predicted)
        return Plan(keep, "x"), predicted

    def measure(plan: Plan):
        calls.append(plan.keep.mean())
        return truth(plan.keep.mean()), 0.01

    return choose, measure, calls


def test_a_table_that_is_right_is_believed_at_once() -> None:
    choose, measure, calls = device(lambda share: share)
    best, attempts = meet(0.5, choose, measure)
    assert best.measured == pytest.approx(0.5) and len(attempts) == len(calls) == 1


@pytest.mark.parametrize("truth", [lambda s: 1.3 * s, lambda s: 0.2 + 0.8 * s, lambda s: s**0.7])
def test_a_table_that_is_wrong_is_corrected(truth) -> None:
    choose, measure, _ = device(truth)
    best, attempts = meet(0.5, choose, measure)
    assert best.measured == pytest.approx(0.5, rel=0.03)
    assert 1 < len(attempts) <= 5


def test_steps_too_coarse_to_hit_give_the_nearest_below() -> None:
    choose, measure, _ = device(lambda s: 1.1 * s, step=0.25)
    best, attempts = meet(0.5, choose, measure)
    assert best.measured == pytest.approx(0.275)
    assert len(attempts) == 2  # the third plan would be the second again


def test_out_of_reach_gives_the_fastest() -> None:
    choose, measure, _ = device(lambda s: 0.6 + 0.4 * s)
    best, attempts = meet(0.3, choose, measure)
    assert best.measured == min(one.measured for one in attempts)
