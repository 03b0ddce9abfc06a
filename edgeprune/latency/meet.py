"""A plan that meets its time as measured: choose, measure the whole, correct the table, choose again."""

from collections.abc import Callable
from dataclasses import dataclass

from edgeprune.plan import Plan

WITHIN = 0.03  # of the target
ROUNDS = 6


@dataclass(frozen=True)
class Attempt:
    """One plan, and what it took.

    Attributes:
        plan: as chosen.
        asked: the share of the baseline's time that the table was asked for.
        predicted: by the table, as a share of its own time of the whole.
        measured: of the compacted model's time over the baseline's, in turn in one run.
        doubt: half the width of the measurement's interval.
    """

    plan: Plan
    asked: float
    predicted: float
    measured: float
    doubt: float


Measure = Callable[[Plan], tuple[float, float]]
Choose = Callable[[float], tuple[Plan, float]]


def meet(
    fraction: float, choose: Choose, measure: Measure, rounds: int = ROUNDS
) -> tuple[Attempt, list[Attempt]]:
    """Ask the table for what makes the measured share come out right.

    A table's times add up to nearly the whole, and nearly is not enough; what it misses changes slowly from
    one plan to a near one, so that the ratio of measured to predicted corrects the next.

    Args:
        fraction: of the baseline's measured time.
        choose: share asked of the table -> plan and what the table says of it.
        measure: plan -> share measured, and its doubt.
        rounds: at most.

    Returns:
        The attempt nearest to the target from below (or the fastest, when none meets it), and all of them.
    """
    attempts: list[Attempt] = []
    asked = fraction
    for _ in range(rounds):
        plan, predicted = choose(asked)
        if any((plan.keep == one.plan.keep).all() for one in attempts):
            break
        measured, doubt = measure(plan)
        attempts.append(Attempt(plan, asked, predicted, measured, doubt))
        if abs(measured / fraction - 1) <= WITHIN:
            break
        asked = max(1e-3, fraction * predicted / measured)
    met = [one for one in attempts if one.measured <= fraction * (1 + WITHIN)]
    best = max(met, key=lambda one: one.measured) if met else min(attempts, key=lambda one: one.measured)
    return best, attempts
