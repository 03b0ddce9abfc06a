"""Planning for a device is bounded, says what remains, and looks closely only near the target."""

from collections.abc import Callable

import numpy as np
import pytest

from edgeprune.errors import TargetError
from edgeprune.graph.classes import Ints
from edgeprune.graph.plan import Plan
from edgeprune.latency.calibrate import Measured
from edgeprune.latency.end_to_end import Look, PairedTimes
from edgeprune.latency.planning import CALLS_PER_TICK, Calibration, PlanningClock, WatchedCost


class Watch:
    """A clock that goes on when it is told."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


class Bench:
    """A device whose times are ``truth`` of the table's; every round takes a second."""

    def __init__(self, watch: Watch, truth: Callable[[float], float], doubt: float = 0.02) -> None:
        self.watch, self.truth, self.doubt = watch, truth, doubt
        self.rounds: list[int] = []  # of each plan

    def choose(self, share: float) -> tuple[Plan, float]:
        return Plan(np.arange(1000) < round(1000 * share), "x"), share

    def measure(self, plan: Plan, look: Look) -> Measured:
        share = self.truth(float(plan.keep.mean()))
        times = PairedTimes(
            10.0, 10 * share, 1 / share, (1 - self.doubt / 2) / share, (1 + self.doubt / 2) / share, 50
        )
        self.rounds.append(0)
        if look.glance:
            self.rounds[-1] = 3
            self.watch.seconds += 3
            times = times._replace(glance=True)
        if not look.glance or (not look.is_far(times) and look.left_s() > 0):
            times = times._replace(glance=False)
            for number in range(12):
                look.report(number, 12, f"round {number + 1}")
                self.watch.seconds += 1
            self.rounds[-1] += 12
        return times.measured


def calibration(
    bench: Bench, limit_s: float = 120.0
) -> tuple[Calibration, PlanningClock, list[tuple[float, float, str]]]:
    reports: list[tuple[float, float, str]] = []
    clock = PlanningClock(limit_s, lambda *report: reports.append(report), now=bench.watch)
    return (
        Calibration(bench.choose, bench.measure, lambda _, measured: measured.share / 0.5, clock),
        clock,
        reports,
    )


def test_a_plan_far_from_the_target_gets_a_glance_and_one_near_it_all_rounds() -> None:
    bench = Bench(Watch(), lambda share: 1.4 * share)
    loop, clock, _ = calibration(bench)
    with clock.running():
        best, attempts = loop.run(0.5, exact=True)
    assert best.met and best.measured.share == pytest.approx(0.4925, abs=2e-3)
    assert bench.rounds == [3, 15, 12]  # the second plan meets it, and is measured again to be sure
    assert len(attempts) == 2 and not clock.is_over()


def test_an_uncertain_glance_is_not_believed() -> None:
    """A distance of 15 % is nothing where the interval is 30 % wide."""
    bench = Bench(Watch(), lambda share: 1.17 * share, doubt=0.3)
    loop, clock, _ = calibration(bench)
    with clock.running():
        loop.run(0.5, exact=True)
    assert bench.rounds[0] == 15


def test_a_glance_that_contradicts_the_table_is_not_believed() -> None:
    """Other work on the machine may slow one of the networks down twenty times, in narrow intervals."""
    bench = Bench(Watch(), lambda share: 0.1 * share)
    loop, clock, _ = calibration(bench)
    with clock.running():
        loop.run(0.5, exact=True)
    assert bench.rounds[0] == 15


def test_when_the_time_is_up_the_best_plan_so_far_counts() -> None:
    bench = Bench(Watch(), lambda share: 0.45 + 0.55 * share)  # a correction is not enough soon
    loop, clock, _ = calibration(bench, limit_s=5.0)
    with clock.running():
        best, attempts = loop.run(0.5, exact=True)
        assert clock.is_over() and clock.left_s <= 0
    assert len(attempts) == 2 and bench.watch.seconds <= 100 + 5 + 3
    assert best is attempts[1] and 1 < best.ratio < attempts[0].ratio
    assert not best.met


def test_there_is_always_one_plan() -> None:
    bench = Bench(Watch(), lambda share: 1.4 * share)
    loop, clock, _ = calibration(bench, limit_s=0.001)
    with clock.running():
        best, attempts = loop.run(0.5, exact=True)
    assert attempts == [best] and bench.rounds == [3]


def test_a_best_plan_that_was_only_glanced_at_is_measured_at_the_end() -> None:
    """The device's steps leave nothing between 0.3 and 0.7 of the time."""
    bench = Bench(Watch(), lambda share: 0.7 if share > 0.35 else 0.3)
    loop, clock, _ = calibration(bench)
    with clock.running():
        best, attempts = loop.run(0.5, exact=True)
    assert best.measured.share == pytest.approx(0.3) and not best.met
    assert bench.rounds[-1] == 12 and bench.rounds[:-1] == [3] * (len(bench.rounds) - 1)
    assert any(attempt is best for attempt in attempts)


def test_every_phase_reports_seconds_of_the_limit() -> None:
    bench = Bench(Watch(), lambda share: share)
    loop, clock, reports = calibration(bench, limit_s=60.0)
    with clock.running():
        loop.run(0.5, exact=True)
    assert [text for _, _, text in reports[:3]] == [
        "plan 1: choosing widths",
        "plan 1: writing the pruned network",
        "plan 1: measuring end to end, round 1",
    ]
    done = [seconds for seconds, _, _ in reports]
    assert done == sorted(done) and done[0] == 0 and done[2] == 3
    assert {total for _, total, _ in reports} == {60.0} and reports[-1] == (60.0, 60.0, "widths chosen")


def test_an_inner_loop_reports_now_and_then() -> None:
    watch = Watch()
    reports: list[tuple[float, float, str]] = []
    clock = PlanningClock(10.0, lambda *report: reports.append(report), now=watch)
    clock.tick()  # it does not run yet
    with clock.running():
        clock.report("choosing")
        for _ in range(10):
            watch.seconds += 0.2
            clock.tick()
    assert [text for _, _, text in reports] == ["choosing"] * 4 + ["widths chosen"]


def test_choosing_stops_when_the_time_is_up_and_there_is_a_plan() -> None:
    watch = Watch()
    clock = PlanningClock(10.0, now=watch)
    cost = WatchedCost(ByHand(), clock)
    widths = np.array([4, 8])

    def asks_often() -> float:
        return max(cost.moved(widths, 12.0, (0,), (2,)) for _ in range(2 * CALLS_PER_TICK))

    with clock.running():
        watch.seconds += 11
        assert asks_often() == 10.0 == cost(np.array([2, 8]))  # there is none yet
        clock.may_stop = True
        watch.seconds += 1
        with pytest.raises(TargetError, match="the time for planning is up"):
            asks_often()


class ByHand:
    """A millisecond for each channel."""

    def __call__(self, widths: Ints) -> float:
        return float(widths.sum())

    def moved(self, widths: Ints, before: float, groups: tuple[int, ...], to: tuple[int, ...]) -> float:
        return before + sum(new - int(widths[group]) for group, new in zip(groups, to, strict=True))
