"""INA238: the channel on the carrier board of AGX Thor that measures the board's total input power."""

from __future__ import annotations

from pathlib import Path

from edgeprune_target.sensors.ina3221 import chip_name, hwmon_folders
from edgeprune_target.sensors.rails import Rail, RailFiles
from edgeprune_target.system import text


class Ina238(RailFiles):
    """``power1_input`` is in microwatts; without it, millivolts times milliamperes."""

    what = "INA238 power sensor"

    def find_rails(self, root: Path) -> list:
        """Return one rail per chip, named by the file ``label``, else VIN."""
        return [
            (text(folder / "label") or "VIN", chip_name(folder), _rail(folder))
            for folder in hwmon_folders(root, "ina238")
        ]


def _rail(folder: Path) -> Rail:
    power = folder / "power1_input"
    if power.exists():
        return Rail([power], 1e-6)
    return Rail([folder / "in1_input", folder / "curr1_input"], 1e-6)
