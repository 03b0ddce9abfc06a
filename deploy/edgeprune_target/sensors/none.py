"""No sensor: it has no rails, so that an energy is always unknown and never zero."""

from __future__ import annotations


class NoSensor:
    """Stands where no sensor answers."""

    unit = "watts"
    total_kind = "none"
    period_s = 1.0

    def __init__(self, argument: str = "", root: str = "/") -> None:
        """Takes what every sensor takes, and needs none of it."""

    def why_not(self) -> str | None:
        """It never answers."""
        return "no power sensor is used"

    def read(self) -> dict:
        """No rails."""
        return {}
