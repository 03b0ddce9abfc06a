"""The loop of choosing and measuring, on a device made by hand."""

import numpy as np
import pytest

from edgeprune.errors import TargetError
from edgeprune.graph.plan import Plan
from edgeprune.latency.calibrate import AIM, WITHIN, Measured, calibrate_to_target, meets, surely_misses


def device(truth, step: float = 0.0, least: float = 0.0):
    """choose and measure, where ``truth`` maps the table's share to the measured one."""
    calls: list[float] = []

    def choose(requested: float):
        if requested < least:
            raise TargetError("too little")
        predicted = requested if not step else max(step, step * int(requested / step + 1e-9))
        keep = np.arange(1000) < round(1000 * predicted)
        return Plan(keep, "x"), predicted

    def measure(plan: Plan):
        calls.append(plan.keep.mean())
        share = truth(plan.keep.mean())
        return Measured(10.0, 10.0 * share, (1 / share, 0.99 / share, 1.01 / share))

    return choose, measure, calls


@pytest.mark.parametrize(
    ("speedup", "exact", "met", "missed"),
    [
        ((2.0, 1.99, 2.01), True, True, False),
        ((1.98, 1.9, 2.1), True, False, False),  # slower than the target, but perhaps not
        ((1.9, 1.85, 1.95), True, False, True),  # the fast end takes 1.026 of the target
        ((2.2, 2.1, 2.3), True, False, True),  # the slow end takes 0.952 of it
        ((2.2, 2.1, 2.3), False, True, False),  # faster than asked, which is welcome
        ((2.2, 2.05, 2.35), True, True, False),  # perhaps 0.976 of it: nearer than can be told
        ((1.9, 1.85, 1.95), False, False, True),
    ],
)
def test_a_plan_is_as_near_to_the_target_as_can_be_measured(speedup, exact, met, missed) -> None:
    ratio = 2.0 / speedup[0]  # the target is half of the time
    assert meets(ratio, speedup, exact=exact) == met
    assert surely_misses(ratio, speedup, exact=exact) == missed


def test_a_table_that_is_right_is_believed_at_once() -> None:
    choose, measure, calls = device(lambda share: share)
    best, attempts = calibrate_to_target(0.5, choose, measure)
    assert best.met and best.measured.share == pytest.approx(0.5 * AIM, abs=1e-3)
    assert len(attempts) == 1
    assert calls[0] == calls[1] and len(calls) == 2  # the second time to be sure


def test_what_met_its_time_only_once_is_corrected() -> None:
    lucky = iter([0.96])  # the first measurement; all others are right
    choose, measure, _ = device(lambda s: 1.05 * s * next(lucky, 1.0))
    best, attempts = calibrate_to_target(0.5, choose, measure)
    assert [attempt.met for attempt in attempts] == [False, True]
    assert best is attempts[1] and best.measured.share <= 0.5 < attempts[0].measured.share


@pytest.mark.parametrize("truth", [lambda s: 1.3 * s, lambda s: 0.2 + 0.8 * s, lambda s: s**0.7])
def test_a_table_that_is_wrong_is_corrected(truth) -> None:
    choose, measure, _ = device(truth)
    best, attempts = calibrate_to_target(0.5, choose, measure)
    assert best.met and 0.5 * (1 - WITHIN) <= best.measured.share <= 0.5 * (1 + WITHIN)
    assert 1 < len(attempts) <= 5


def test_a_table_that_is_far_too_slow_at_small_widths_is_corrected_in_three_plans() -> None:
    """As of a detector whose layers took half of what the table says, once they were narrow."""
    choose, measure, calls = device(lambda share: share * min(1.0, 0.25 + 0.75 * share))
    best, attempts = calibrate_to_target(0.5, choose, measure)
    assert best.met and len(attempts) <= 3
    # by hand: 0.4925 takes 0.305 and the unpruned network 1, so that 0.4925 of the time lies at 0.629 between them
    assert calls[1] == pytest.approx(0.629, abs=2e-3)


def test_steps_too_coarse_to_hit_give_the_nearest_below() -> None:
    choose, measure, _ = device(lambda s: 1.1 * s, step=0.25)
    best, attempts = calibrate_to_target(0.5, choose, measure)
    assert best.measured.share == pytest.approx(0.275) and not best.met
    assert len(attempts) == 1  # the second plan would be the first again


def test_out_of_reach_gives_the_fastest() -> None:
    choose, measure, _ = device(lambda s: 0.6 + 0.4 * s, least=0.05)
    best, attempts = calibrate_to_target(0.3, choose, measure)
    assert not best.met and best.measured.share == min(attempt.measured.share for attempt in attempts)


def test_what_is_faster_than_hoped_stays_so() -> None:
    choose, measure, _ = device(lambda s: 0.8 * s)
    best, attempts = calibrate_to_target(0.5, choose, measure, exact=False)
    assert len(attempts) == 1 and best.met and best.measured.share == pytest.approx(0.4)


def test_an_amount_is_met_in_its_own_unit() -> None:
    choose, measure, _ = device(lambda s: 1.2 * s)
    best, _ = calibrate_to_target(0.5, choose, measure, lambda plan, measured: measured.pruned_ms / 5.0)
    assert 5.0 * (1 - WITHIN) <= best.measured.pruned_ms <= 5.0 * (1 + WITHIN)


def test_a_first_choice_that_cannot_be_made_is_an_error() -> None:
    choose, measure, _ = device(lambda s: s, least=0.6)
    with pytest.raises(TargetError, match="too little"):
        calibrate_to_target(0.5, choose, measure)
