"""No sensor: it has no rails, so that an energy is always unknown and never zero."""

from __future__ import annotations

from edgeprune_target.sensors.base import Sensor


class NoSensor(Sensor):
    """Stands where no sensor answers."""

    name = "none"
    period_s = 1.0

    def why_not(self) -> str | None:
        """It never answers."""
        return "no power sensor is used"

    def read(self) -> dict:
        """No rails."""
        return {}
