"""Several sensors as one: ``ina3221+ina238`` has the rails of both."""

from __future__ import annotations

from typing import Any

from edgeprune_target.sensors.base import Sensor


class Joined(Sensor):
    """Available if all of its parts are, and they have the same unit."""

    total_kind = "rail_sum"

    def __init__(self, parts: list) -> None:
        """Join sensors that are read synchronously (without a child process that prints by itself)."""
        super().__init__("", parts[0].root, parts[0].clock)
        self.parts: list[Any] = parts
        self.period_s = max(part.period_s for part in parts)
        self.most_w = max(part.most_w for part in parts)

    def why_not(self) -> str | None:
        """Return None, or the first part's reason."""
        for part in self.parts:
            reason = part.why_not()
            if reason is not None:
                return f"{part.name}: {reason}"
        units = {part.unit for part in self.parts}
        if len(units) > 1:
            return f"its parts count different units ({' and '.join(sorted(units))})"
        self.unit = units.pop()
        return None

    def read(self) -> dict:
        """Return the rails of all parts."""
        return {rail: value for part in self.parts for rail, value in part.read().items()}

    def close(self) -> None:
        """Close all parts."""
        for part in self.parts:
            part.close()
