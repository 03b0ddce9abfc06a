"""No sensor: without rails, an energy is always unknown and never zero."""

from __future__ import annotations

from edgeprune_target.sensors.base import Sensor


class NoSensor(Sensor):
    """Used if no sensor is available."""

    name = "none"
    period_s = 1.0

    def why_not(self) -> str | None:
        """Return the reason: it is never available."""
        return "no power sensor is used"

    def read(self) -> dict:
        """Return no rails."""
        return {}
