"""INA3221 by the kernel's hwmon driver: Jetson from JetPack 5 on.

Channels count from 1. There is no power file: millivolts times milliamperes. Channel 7 is the sum of the
shunt voltages and no rail. The number of the hwmon folder changes from start to start.
"""

from __future__ import annotations

from pathlib import Path

from edgeprune_target.sensors.rails import Rail, RailFiles, is_rail
from edgeprune_target.system import text


class Ina3221(RailFiles):
    """Every named rail of every INA3221."""

    what = "INA3221 power sensor (hwmon)"

    def find_rails(self, root: Path) -> list:
        """Chips in the order of their addresses, channels in theirs."""
        found = []
        for folder in hwmon_folders(root, "ina3221"):
            for channel in (1, 2, 3):
                label = text(folder / f"in{channel}_label")
                if is_rail(label):
                    files = [folder / f"in{channel}_input", folder / f"curr{channel}_input"]
                    found.append((label, chip_name(folder), Rail(files, 1e-6)))
        return found


def hwmon_folders(root: Path, driver: str) -> list:
    """The hwmon folders of a driver's chips, by either way that sysfs has to them, each once."""
    by_bus = sorted(root.glob(f"sys/bus/i2c/drivers/{driver}/*/hwmon/hwmon*"))
    by_class = sorted(root.glob("sys/class/hwmon/hwmon*"))
    named = [folder for folder in by_class if text(folder / "name") == driver]
    return list({folder.resolve(): folder for folder in [*named, *by_bus]}.values())


def chip_name(folder: Path) -> str:
    """The chip's bus and address, as in 1-0041; without those the folder's name."""
    place = folder.resolve().parent.parent.name
    return place if "-" in place else folder.name
