"""Latency of one inference, which is measured on a device."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgeprune.errors import TargetError
from edgeprune.resources.base import Resource

if TYPE_CHECKING:
    from edgeprune.graph.classes import Bools, Graph

LATENCY = "latency"


class Latency(Resource):
    """Milliseconds of one inference; `edgeprune.latency` binds it to a device's table."""

    name = LATENCY
    unit = "ms"
    units = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    shown = "ms"
    needs_device = True

    def cost(self, graph: "Graph", keep: "Bools | None" = None) -> float:  # noqa: ARG002
        """Raise TargetError: a latency needs a device."""
        raise TargetError(
            "latency needs a device's latency table: use edgeprune.latency.device_budget, or train-prune with "
            "`target_device`"
        )

    def measured_on_device(self, record: Mapping[str, Any] | None) -> tuple[float, float] | None:
        """Return the latencies in ms of the baseline and of the chosen plan."""
        for attempt in (record or {}).get("attempts", ()):
            if attempt["chosen"]:
                return attempt["baseline_ms"], attempt["pruned_ms"]
        return None
