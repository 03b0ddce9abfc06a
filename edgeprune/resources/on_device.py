"""Resources that are measured on a device, and have no cost before they are bound to one."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgeprune.errors import TargetError
from edgeprune.resources.base import Resource

if TYPE_CHECKING:
    from edgeprune.graph.classes import Bools, Graph


class OnDevice(Resource):
    """A resource whose cost comes from a table of layers that was measured on a device."""

    needs_device = True

    def cost(self, graph: "Graph", keep: "Bools | None" = None) -> float:  # noqa: ARG002
        """Raise TargetError: the cost needs a device."""
        raise TargetError(
            f"{self.name} needs a device's {self.name} table: use edgeprune.latency.device_budget, or train-prune with "
            "`target_device`"
        )

    def measured_on_device(self, record: Mapping[str, Any] | None) -> tuple[float, float] | None:
        """Return what the baseline and the chosen plan took, in the resource's unit.

        Args:
            record: the content of the run's latency.json; None if there is none.
        """
        for attempt in (record or {}).get("attempts", ()):
            if attempt["chosen"]:
                return self.pair_of(attempt)
        return None

    def pair_of(self, attempt: Mapping[str, Any]) -> tuple[float, float] | None:
        """Return what a measured plan's baseline and the plan took; None where that was not measured."""
        raise NotImplementedError
