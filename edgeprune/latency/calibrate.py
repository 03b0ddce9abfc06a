"""Find a plan that meets its target as measured: choose, measure end to end, correct the request, repeat."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET

from edgeprune.errors import TargetError
from edgeprune.graph.plan import Plan
from edgeprune.records.times import PlanEnergy
from edgeprune.resources import ENERGY, LATENCY

WITHIN = 0.03  # of the target
AIM = 0.985  # of it: a target is a limit, and measurements are uncertain
OVER = 0.0075  # of it: a plan that is slower by no more meets it
ROUNDS = 6


Interval = tuple[float, float, float]  # of a ratio, baseline over pruned: the value, then both ends


@dataclass(frozen=True)
class MeasuredEnergy:
    """Energies of a compacted model and the baseline, of the same rounds as the latencies.

    Attributes:
        baseline_mj, pruned_mj: of an inference, the idle power included.
        ratio: of the baseline's to the pruned model's, with the ends of its interval.
    """

    baseline_mj: float
    pruned_mj: float
    ratio: Interval

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON, for a report."""
        return {
            "baseline_mj": self.baseline_mj,
            "pruned_mj": self.pruned_mj,
            "measured_fraction": 1 / self.ratio[0],
            "ratio": list(self.ratio),
        }


@dataclass(frozen=True)
class Measured:
    """Latencies of a compacted model and the baseline, alternating in one run; their energies, if these are targets.

    Attributes:
        baseline_ms, pruned_ms: that percentile of the samples.
        speedup: of the pruned model, with the ends of its interval.
        percentile: 50, or 10 where something disturbed the medians.
        glance: whether a few rounds had to do, perhaps of files that were exported in haste.
        energy: of both; None where it is not a target.
    """

    baseline_ms: float
    pruned_ms: float
    speedup: Interval
    percentile: int = 50
    glance: bool = False
    energy: MeasuredEnergy | None = None

    @property
    def share(self) -> float:
        """The share of the baseline's time."""
        return 1 / self.speedup[0]

    def of(self, kind: str) -> tuple[float, Interval]:
        """Return what the pruned model takes of a resource, and the ratio of the baseline to it.

        Args:
            kind: name of the resource: latency, or energy where it was measured.
        """
        if kind == LATENCY:
            return self.pruned_ms, self.speedup
        assert kind == ENERGY and self.energy is not None
        return self.energy.pruned_mj, self.energy.ratio

    def record(self) -> dict[str, Any]:
        """Return the fields of a `PlanTimes`, or a record that adds to it."""
        energy = self.energy
        return {
            "baseline_ms": self.baseline_ms,
            "pruned_ms": self.pruned_ms,
            "speedup": self.speedup,
            "percentile": self.percentile,
            "energy": UNSET if energy is None else PlanEnergy(**vars(energy)),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON, for a report."""
        return {
            "baseline_ms": self.baseline_ms,
            "pruned_ms": self.pruned_ms,
            "speedup": list(self.speedup),
            "percentile": self.percentile,
            "glance": self.glance,
            **({} if self.energy is None else {"energy": self.energy.to_dict()}),
        }


@dataclass(frozen=True)
class Attempt:
    """One plan and its latency.

    Attributes:
        plan: as chosen.
        requested_share: of the baseline's time, by the table, that was allowed.
        predicted: share of the baseline's time, by the table.
        measured: on the device.
        ratio: of the measured time to the target.
        met: whether the target is met closely enough.
    """

    plan: Plan
    requested_share: float
    predicted: float
    measured: Measured
    ratio: float
    met: bool

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON, for a report."""
        return {
            "measured_fraction": self.measured.share,
            **self.measured.to_dict(),
            "ratio_to_target": self.ratio,
        }


Choose = Callable[[float], tuple[Plan, float]]


def speedup_of(measured: Measured) -> Interval:
    """Return the speedup of a measured plan with its interval."""
    return measured.speedup


def meets(ratio: float, interval: Interval, *, exact: bool) -> bool:
    """Return whether a plan is not slower than its target, and as near to it as the measurement can tell.

    Args:
        ratio: of the measured time, or energy, to the target.
        interval: of the speedup, or of the ratio of energies.
        exact: whether a plan that is faster than the target should keep more channels.
    """
    return ratio <= 1 + OVER and (not exact or _ends(ratio, interval)[1] >= 1 - WITHIN)


def surely_misses(ratio: float, interval: Interval, *, exact: bool) -> bool:
    """Return whether a plan misses its target at both ends of the interval: measuring on would not change that.

    Args:
        ratio: of the measured time, or energy, to the target.
        interval: of the speedup, or of the ratio of energies.
        exact: whether a plan that is faster than the target should keep more channels.
    """
    fast, slow = _ends(ratio, interval)
    return fast > 1 + OVER or (exact and slow < 1 - WITHIN)


def _ends(ratio: float, interval: Interval) -> tuple[float, float]:
    """Return the ratio at the fast and at the slow end of the interval."""
    value, low, high = interval
    return ratio * value / high, ratio * value / low


def calibrate_to_target(
    target_share: float,
    choose: Choose,
    measure: Callable[[Plan], Measured],
    ratio_of: Callable[[Plan, Measured], float] | None = None,
    *,
    interval_of: Callable[[Measured], Interval] = speedup_of,
    exact: bool = True,
    rounds: int = ROUNDS,
    is_over: Callable[[], bool] = lambda: False,
) -> tuple[Attempt, list[Attempt]]:
    """Choose and measure plans, and correct the requested time, until the measured time meets the target.

    A table's times add up to nearly the end-to-end latency, which is not accurate enough; what was measured of
    the plans so far corrects the next request, see `next_request`. What is nearer than the measurement's interval
    cannot be told apart: such a plan meets the target. A plan that meets the target is measured once
    more, and the second measurement, by which it was not selected, counts; unless the time is up.

    Args:
        target_share: of the baseline's time, or another quantity that `choose` and ``ratio_of`` agree on.
        choose: share requested by the table -> plan, and its share by the table.
        measure: measures a plan on the device.
        ratio_of: plan and measurement -> measured time over target; None compares shares.
        interval_of: measurement -> the ratio of baseline and plan that decides, with its ends.
        exact: whether a plan that is faster than the target should keep more channels; otherwise
            any plan that is not slower meets it.
        rounds: at most.
        is_over: whether the time for planning is up: then the attempts so far count. There is always one.

    Returns:
        The attempt that is nearest to the target from below (or the fastest, when none meets it), and all.

    Raises:
        TargetError: the first choice failed. When a later one fails, the best attempt so far is returned.
    """

    def evaluate(plan: Plan) -> tuple[Measured, float, bool]:
        measured = measure(plan)
        ratio = ratio_of(plan, measured) if ratio_of else measured.share / target_share
        return measured, ratio, meets(ratio, interval_of(measured), exact=exact)

    attempts: list[Attempt] = []
    aim = AIM if exact else 1.0
    requested_share = target_share * aim
    for _ in range(rounds):
        try:
            plan, predicted = choose(requested_share)
        except TargetError:
            if not attempts:
                raise
            break
        if any(_same(plan, attempt.plan) for attempt in attempts):
            break
        measured, ratio, met = evaluate(plan)
        over = is_over()
        if met and not over:  # selecting by a measurement favours noise: measure again
            measured, ratio, met = evaluate(plan)
            over = is_over()
        attempts.append(Attempt(plan, requested_share, predicted, measured, ratio, met))
        if met or over:
            break
        requested_share = max(1e-3, next_request(attempts, aim, target_share))
    return _nearest_from_below(attempts, 1 + OVER), attempts


def _same(plan: Plan, other: Plan) -> bool:
    return bool((plan.keep == other.keep).all()) and plan.precisions == other.precisions


def next_request(attempts: Sequence[Attempt], aim: float, target_share: float) -> float:
    """Return the share to request of the table next: where the measured time meets the aim, linearly interpolated.

    Between the plans that are nearest to the aim on either side (regula falsi). Nothing takes no time, and the
    unpruned network takes its own: they stand in until plans were measured on both sides. A table that is wrong by
    much at small widths is right at full width, so that a correction in proportion would overshoot.

    Args:
        attempts: so far, at least one.
        aim: the wanted ratio of the measured time to the target.
        target_share: of the baseline's time.
    """
    low, low_ratio = max(((a.predicted, a.ratio) for a in attempts if a.ratio <= aim), default=(0.0, 0.0))
    slower = [(a.predicted, a.ratio) for a in attempts if a.ratio > aim and a.predicted > low]
    high, high_ratio = min(slower, default=(1.0, 1 / target_share))
    if high <= low or high_ratio <= aim:  # the unpruned network is within the target
        last = attempts[-1]
        return last.predicted * aim / last.ratio
    return low + (aim - low_ratio) / (high_ratio - low_ratio) * (high - low)


def _nearest_from_below(attempts: list[Attempt], slowest: float) -> Attempt:
    """Return the slowest attempt within the limit, or else the fastest of all."""
    within_limit = [attempt for attempt in attempts if attempt.ratio <= slowest]
    if within_limit:
        return max(within_limit, key=lambda attempt: attempt.ratio)
    return min(attempts, key=lambda attempt: attempt.ratio)
