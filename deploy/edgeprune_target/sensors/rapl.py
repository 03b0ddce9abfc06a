"""RAPL: the energy counters of an x86 processor, under /sys/class/powercap.

Counted: the processor packages (zones ``package-N``). Not counted: memory, disk, fans, the power supply's
losses; and the sub-zones (core, uncore) and ``psys``, which count the same joules a second time.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter_ns
from typing import Callable

from edgeprune_target.sensors.base import Sensor
from edgeprune_target.system import text

MICRO = 1e-6


class Rapl(Sensor):
    """Joules per package, accumulated across the counter's wrap-around."""

    unit = "joules"
    most_w = 3000.0  # of a package; the largest need about 600 W
    total_kind = "rail_sum"
    period_s = 1.0  # the counter wraps after some minutes at full power; between two reads it may wrap once

    def __init__(
        self, argument: str = "", root: str = "/", clock: Callable[[], int] = perf_counter_ns
    ) -> None:
        super().__init__(argument, root, clock)
        self.folder = Path(root) / "sys/class/powercap"
        self.last_uj: dict = {}
        self.joules: dict = {}

    def why_not(self) -> str | None:
        """Return None, or the reason: there are no such counters, or only root may read them."""
        zones = self._zones()
        if not zones:
            return f"no packages in {self.folder} (not x86, or hidden by a container or virtual machine)"
        try:
            for zone in zones.values():
                _number(zone / "energy_uj")
        except PermissionError:
            return f"only root may read it: run as root, or: sudo chmod a+r {self.folder}/*/energy_uj"
        except (OSError, ValueError) as error:
            return f"{self.folder} does not answer ({error})"
        return None

    def read(self) -> dict:
        """Return {package: joules since the first read}; empty if the counters could not be read."""
        try:
            for name, zone in self._zones().items():
                self._advance(name, zone)
        except (OSError, ValueError):
            return {}
        return dict(self.joules)

    def _advance(self, name: str, zone: Path) -> None:
        now = _number(zone / "energy_uj")
        step = now - self.last_uj.get(name, now)
        if step < 0:
            step += max(0, _number(zone / "max_energy_range_uj"))  # else the counter restarted
        self.last_uj[name] = now
        self.joules[name] = self.joules.get(name, 0.0) + step * MICRO

    def _zones(self) -> dict:
        """Return {zone name: folder} of the packages; a second zone of one name is the same package again."""
        zones: dict = {}
        for folder in sorted(self.folder.glob("intel-rapl:*")):
            label = text(folder / "name").strip()
            if label.startswith("package"):
                zones.setdefault(label, folder)
        return zones


def _number(path: Path) -> int:
    number = int(path.read_text())
    if abs(number) >= 2**63:
        raise ValueError(f"{path} holds {number}, which no counter reaches")
    return number
