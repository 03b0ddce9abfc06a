"""Bound the time in which a device's plan is found, and report what is done and how much time may remain."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from edgeprune.errors import TargetError
from edgeprune.graph.classes import Ints
from edgeprune.graph.plan import Plan
from edgeprune.latency.calibrate import (
    Attempt,
    Choose,
    Interval,
    Measured,
    calibrate_to_target,
    speedup_of,
    surely_misses,
)
from edgeprune.latency.end_to_end import Look, PairedTimes
from edgeprune.processes.distributed import world
from edgeprune.processes.progress import ProgressCallback, no_progress

PLAN_SECONDS = 120.0
REPORTED_EVERY_S = 0.5
CALLS_PER_TICK = 256
DOUBTFUL = 2.0  # times what the table says, or a part of it: a glance that sees that is not believed
FAR = 0.1  # from the target, as a fraction of it: a plan that is farther is not worth more than a glance


@dataclass
class PlanningClock:
    """The time of choosing, measuring and correcting plans, without that of the latency table.

    Progress is reported in seconds of ``limit_s``, so that what remains is the most that planning can still take.

    Attributes:
        limit_s: after this time no further plan is tried.
        progress: called with (seconds so far, ``limit_s``, what is done).
        now: returns seconds; a test gives its own.
        may_stop: whether there is a plan already, so that choosing another may end when the time is up.
    """

    limit_s: float = PLAN_SECONDS
    progress: ProgressCallback = no_progress
    now: Callable[[], float] = time.monotonic
    may_stop: bool = False
    _started: float | None = field(default=None, repr=False)
    _text: str = field(default="", repr=False)
    _reported: float = field(default=float("-inf"), repr=False)

    @contextmanager
    def running(self) -> Iterator["PlanningClock"]:
        """Start the clock, and report at the end that the plan is there."""
        self._started, self.may_stop = self.now(), False
        yield self
        self.progress(self.limit_s, self.limit_s, "widths chosen")
        self._started = None

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start; 0 while the clock does not run."""
        return 0.0 if self._started is None else self.now() - self._started

    @property
    def left_s(self) -> float:
        """Seconds until the limit, below 0 after it."""
        return self.limit_s - self.elapsed_s

    def is_over(self) -> bool:
        """Return whether the time is up; processes that train together get the main one's answer."""
        over = torch.tensor(float(self.left_s <= 0))
        if torch.cuda.is_available():
            over = over.cuda()
        return bool(world().broadcast(over).item())

    def report(self, text: str) -> None:
        """Report what is done now."""
        self._text, self._reported = text, self.now()
        self.progress(min(self.elapsed_s, self.limit_s), self.limit_s, text)

    def tick(self) -> None:
        """Report that the same thing is still being done; cheap enough for an inner loop.

        Raises:
            TargetError: the time is up, and there is a plan already (`may_stop`).
        """
        if self._started is None or self.now() - self._reported <= REPORTED_EVERY_S:
            return
        if self.may_stop and self.left_s <= 0 and world().size == 1:
            raise TargetError("the time for planning is up")
        self.report(self._text)


@dataclass
class WatchedCost:
    """A latency by widths that a solver asks for very often: the clock ticks meanwhile."""

    cost: Any
    clock: PlanningClock
    _calls: int = 0

    def __call__(self, widths: Ints) -> float:
        """Return the latency at these widths, ms."""
        return float(self.cost(widths))

    def moved(self, widths: Ints, before: float, groups: tuple[int, ...], to: tuple[int, ...]) -> float:
        """Return the latency after some groups change their width.

        Args:
            widths: (groups,) channels of each group.
            before: the latency there, ms.
            groups: that change.
            to: their new widths.
        """
        self._calls += 1
        if self._calls % CALLS_PER_TICK == 0:
            self.clock.tick()
        return float(self.cost.moved(widths, before, groups, to))


@dataclass
class Calibration:
    """Choosing, measuring and correcting plans until one meets the target or the time is up.

    Attributes:
        choose: share of the time requested by the table -> plan, and its share by the table.
        measure: plan, and how closely to look -> what it takes on the device.
        ratio_of: plan and measurement -> measured time over target.
        clock: bounds the time, and reports.
        interval_of: measurement -> the ratio of baseline and plan that decides, with its ends.
    """

    choose: Choose
    measure: Callable[[Plan, Look], Measured]
    ratio_of: Callable[[Plan, Measured], float]
    clock: PlanningClock
    interval_of: Callable[[Measured], Interval] = speedup_of
    _plans: int = 0
    _target_share: float = 1.0
    _expected_ratio: float = 1.0  # of the current plan's time over the target, by the table
    _exact: bool = True
    _glanced: set[int] = field(default_factory=set)  # ids of plans that were seen to be far from the target
    _looked_at: int | None = None  # id of the last plan that was measured closely

    def run(self, target_share: float, *, exact: bool) -> tuple[Attempt, list[Attempt]]:
        """Return the best attempt and all; see `calibrate_to_target`.

        Args:
            target_share: of the baseline's time, or another quantity that `choose` and `ratio_of` agree on.
            exact: whether a plan that is faster than the target should keep more channels.
        """
        self._target_share, self._exact = target_share, exact
        best, attempts = calibrate_to_target(
            target_share, self._chosen, self._measured, self.ratio_of,
            interval_of=self.interval_of, exact=exact, is_over=self.clock.is_over,
        )  # fmt: skip
        if id(best.plan) not in self._glanced or self.clock.is_over():
            return best, attempts
        measured = self.measure(best.plan, self._look(best.plan, closely=True))
        closer = replace(best, measured=measured, ratio=self.ratio_of(best.plan, measured))
        return closer, [closer if attempt is best else attempt for attempt in attempts]

    def _chosen(self, share: float) -> tuple[Plan, float]:
        self.clock.may_stop = self._plans > 0
        self._plans += 1
        self.clock.report(f"plan {self._plans}: choosing widths")
        plan, predicted = self.choose(share)
        self._expected_ratio = predicted / self._target_share
        return plan, predicted

    def _measured(self, plan: Plan) -> Measured:
        self.clock.report(f"plan {self._plans}: writing the pruned network")
        measured = self.measure(plan, self._look(plan, closely=self._looked_at == id(plan)))
        self._looked_at = None if measured.glance else id(plan)
        return measured

    def _look(self, plan: Plan, *, closely: bool = False) -> Look:
        """Return how a plan is looked at: beyond a glance only near the target, or ``closely``, without one."""

        def is_far(times: PairedTimes) -> bool:
            ratio = self.ratio_of(plan, times.measured)
            expected = ratio / self._expected_ratio
            if abs(ratio - 1) <= max(FAR, times.width) or not 1 / DOUBTFUL < expected < DOUBTFUL:
                return False
            self._glanced.add(id(plan))
            return True

        def is_missed(times: PairedTimes) -> bool:
            measured = times.measured
            ratio, interval = self.ratio_of(plan, measured), self.interval_of(measured)
            return surely_misses(ratio, interval, exact=self._exact)

        def report(done: float, total: float, text: str) -> None:  # noqa: ARG001
            self.clock.report(f"plan {self._plans}: measuring end to end, {text}")

        return Look(is_far, is_missed, lambda: self.clock.left_s, report, glance=not closely)
