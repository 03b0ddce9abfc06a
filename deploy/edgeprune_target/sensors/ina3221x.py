"""INA3221 by NVIDIA's old iio driver: Jetson up to JetPack 4.

Channels count from 0. ``in_power`` is in milliwatts; without it, millivolts times milliamperes.
"""

from __future__ import annotations

from pathlib import Path

from edgeprune_target.sensors.rails import Rail, RailFiles, is_rail
from edgeprune_target.system import text

PATTERNS = ("*/iio:device*", "*/iio_device*")


class Ina3221x(RailFiles):
    """Every named rail of every INA3221."""

    what = "INA3221 power sensor (iio)"

    def find_rails(self, root: Path) -> list:
        """Return the rails in the order of chip addresses, then channels."""
        driver = root / "sys/bus/i2c/drivers/ina3221x"
        folders = sorted(folder for pattern in PATTERNS for folder in driver.glob(pattern))
        rails = []
        for folder in folders:
            for channel in (0, 1, 2):
                label = text(folder / f"rail_name_{channel}")
                if is_rail(label):
                    rails.append((label, folder.parent.name, _rail(folder, channel)))
        return rails


def _rail(folder: Path, channel: int) -> Rail:
    power = folder / f"in_power{channel}_input"
    if power.exists():
        return Rail([power], 1e-3)
    return Rail([folder / f"in_voltage{channel}_input", folder / f"in_current{channel}_input"], 1e-6)
