"""What something takes while nothing disturbs it, from times of which noise made some longer."""

from __future__ import annotations

from statistics import mean


def undisturbed(times: list) -> float:
    """Return the mean of the fastest quarter of some times, at least one, in their unit."""
    return mean(sorted(times)[: max(1, len(times) // 4)])
