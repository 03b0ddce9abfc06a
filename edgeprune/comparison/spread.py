"""Mean and spread of repeated measurements."""

import math
import statistics
from collections.abc import Sequence

from edgeprune.records.comparison import Average


def mean_and_spread(values: Sequence[float | None]) -> Average:
    """Return mean, sample standard deviation (n - 1) and every value; missing values are skipped and counted.

    >>> mean_and_spread([1.0, 3.0]).std == 2 ** 0.5
    True
    """
    known = [float(value) for value in values if value is not None]
    return Average(
        mean=math.fsum(known) / len(known) if known else None,
        std=statistics.stdev(known) if len(known) > 1 else None,
        std_reason=None if len(known) > 1 else f"{len(known)} measured: a spread needs two",
        values=tuple(known),
        missing=len(values) - len(known),
    )
