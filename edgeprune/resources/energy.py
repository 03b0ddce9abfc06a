"""Energy of one inference, which is measured on a device that has a power sensor."""

from collections.abc import Mapping
from typing import Any

from edgeprune.resources.on_device import OnDevice

ENERGY = "energy"


class Energy(OnDevice):
    """Millijoules of one inference, the idle power of the device included, as `bench` has it; see `Latency`."""

    name = ENERGY
    unit = "mJ"
    units = {"uJ": 1e-3, "mJ": 1.0, "J": 1e3}
    shown = "mJ"

    def pair_of(self, attempt: Mapping[str, Any]) -> tuple[float, float] | None:
        """Return the energies in mJ of the baseline and of a measured plan; None where no sensor was read."""
        energy = attempt.get("energy")
        return None if energy is None else (energy["baseline_mj"], energy["pruned_mj"])
