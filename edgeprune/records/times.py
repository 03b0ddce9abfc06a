"""The record of a smaller model's time beside the baseline's."""

from edgeprune.records.base import Record
from edgeprune.records.fields import Above0, Positive


class PlanTimes(Record, frozen=True, kw_only=True):
    """A plan's model, measured end to end beside the baseline.

    Attributes:
        baseline_ms: a percentile of the samples.
        pruned_ms: likewise.
        speedup: with the ends of its interval.
        percentile: 50, or 10 where something disturbed the medians.
    """

    baseline_ms: Above0
    pruned_ms: Above0
    speedup: tuple[Above0, Above0, Above0]
    percentile: Positive = 50
