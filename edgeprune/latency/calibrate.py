"""A plan that meets its time as measured: choose, measure the whole, correct the table, choose again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgeprune.errors import TargetError
from edgeprune.graph.plan import Plan

WITHIN = 0.03  # of the time that was asked for
AIM = 0.985  # of it: a target is a limit, and measuring has its doubt
OVER = 0.0075  # of it: what is slower by no more counts as met
ROUNDS = 6


@dataclass(frozen=True)
class Measured:
    """Of a compacted model and the baseline, in turn in one run.

    Attributes:
        baseline_ms, pruned_ms: that percentile of the samples.
        speedup: of the pruned one, with the ends of its interval.
        percentile: 50, or 10 where something disturbed the medians.
    """

    baseline_ms: float
    pruned_ms: float
    speedup: tuple[float, float, float]
    percentile: int = 50

    @property
    def share(self) -> float:
        """Of the baseline's time."""
        return 1 / self.speedup[0]

    def to_dict(self) -> dict[str, Any]:
        """For a report."""
        return {
            "baseline_ms": self.baseline_ms,
            "pruned_ms": self.pruned_ms,
            "speedup": list(self.speedup),
            "percentile": self.percentile,
        }


@dataclass(frozen=True)
class Attempt:
    """One plan, and what it took.

    Attributes:
        plan: as chosen.
        asked: of the table, as a share of its own time of the whole.
        predicted: by the table, as a share of its own time of the whole.
        measured: on the device.
        ratio: of what was measured to what was asked for.
        met: whether that is near enough.
    """

    plan: Plan
    asked: float
    predicted: float
    measured: Measured
    ratio: float
    met: bool

    def to_dict(self) -> dict[str, Any]:
        """For a report."""
        return {
            "measured_fraction": self.measured.share,
            **self.measured.to_dict(),
            "ratio_to_target": self.ratio,
        }


Choose = Callable[[float], tuple[Plan, float]]


def calibrate_to_target(
    wanted: float,
    choose: Choose,
    measure: Callable[[Plan], Measured],
    ratio_of: Callable[[Plan, Measured], float] | None = None,
    *,
    exact: bool = True,
    rounds: int = ROUNDS,
) -> tuple[Attempt, list[Attempt]]:
    """Ask the table for what makes the measured time come out right.

    A table's times add up to nearly the whole, and nearly is not enough; what it misses changes slowly from
    one plan to a near one, so that the ratio of measured to predicted corrects the next. A plan that meets
    the time is measured once more, and the second measurement, which it was not picked by, counts.

    Args:
        wanted: share of the baseline's time, or whatever else `choose` and ``ratio_of`` take it for.
        choose: share asked of the table -> plan, and the share that it has by the table.
        measure: the device's word.
        ratio_of: plan and measurement -> the time measured over the time asked for; None takes the share.
        exact: whether a plan that is faster than asked should be made slower, and more important; otherwise
            it is enough not to be slower.
        rounds: at most.

    Returns:
        The attempt that is nearest to the time from below (or the fastest, when none meets it), and all.

    Raises:
        TargetError: of the first choice. Where a later one cannot be made, the best so far stands.
    """

    def judged(plan: Plan) -> tuple[Measured, float, bool]:
        measured = measure(plan)
        ratio = ratio_of(plan, measured) if ratio_of else measured.share / wanted
        return measured, ratio, ratio <= slowest and (ratio >= 1 - WITHIN or not exact)

    attempts: list[Attempt] = []
    aim, slowest = AIM if exact else 1.0, 1 + OVER
    asked = wanted * aim
    for _ in range(rounds):
        try:
            plan, predicted = choose(asked)
        except TargetError:
            if not attempts:
                raise
            break
        if any((plan.keep == one.plan.keep).all() for one in attempts):
            break
        measured, ratio, met = judged(plan)
        if met:  # the first that seems to meet it may be the one that was measured too kindly
            measured, ratio, met = judged(plan)
        attempts.append(Attempt(plan, asked, predicted, measured, ratio, met))
        if met:
            break
        asked = max(1e-3, predicted * aim / ratio)
    good = [one for one in attempts if one.ratio <= slowest]
    best = max(good, key=lambda one: one.ratio) if good else min(attempts, key=lambda one: one.ratio)
    return best, attempts
