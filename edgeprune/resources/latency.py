"""Latency of one inference, which is measured on a device."""

from collections.abc import Mapping
from typing import Any

from edgeprune.resources.on_device import OnDevice

LATENCY = "latency"


class Latency(OnDevice):
    """Milliseconds of one inference; `edgeprune.latency` binds it to a device's table."""

    name = LATENCY
    unit = "ms"
    units = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    shown = "ms"
    steady = True

    def pair_of(self, attempt: Mapping[str, Any]) -> tuple[float, float] | None:
        """Return the latencies in ms of the baseline and of a measured plan."""
        return attempt["baseline_ms"], attempt["pruned_ms"]
