"""INA3221 by the kernel's hwmon driver: Jetson from JetPack 5 on.

Channels count from 1. There is no power file: power is millivolts times milliamperes. Channel 7 is the sum of the
shunt voltages, not a rail. The number of the hwmon folder changes from boot to boot.
"""

from __future__ import annotations

from pathlib import Path

from edgeprune_target.sensors.rails import Rail, RailFiles, is_rail
from edgeprune_target.system import text


class Ina3221(RailFiles):
    """Every named rail of every INA3221."""

    what = "INA3221 power sensor (hwmon)"

    def find_rails(self, root: Path) -> list:
        """Return the rails in the order of chip addresses, then channels."""
        rails = []
        for folder in hwmon_folders(root, "ina3221"):
            for channel in (1, 2, 3):
                label = text(folder / f"in{channel}_label")
                if is_rail(label):
                    files = [folder / f"in{channel}_input", folder / f"curr{channel}_input"]
                    rails.append((label, chip_name(folder), Rail(files, 1e-6)))
        return rails


def hwmon_folders(root: Path, driver: str) -> list:
    """Return the hwmon folders of a driver's chips, by either path of sysfs, each once."""
    by_bus = sorted(root.glob(f"sys/bus/i2c/drivers/{driver}/*/hwmon/hwmon*"))
    by_class = sorted(root.glob("sys/class/hwmon/hwmon*"))
    named = [folder for folder in by_class if text(folder / "name") == driver]
    return list({folder.resolve(): folder for folder in [*named, *by_bus]}.values())


def chip_name(folder: Path) -> str:
    """Return the chip's bus and address, as in 1-0041; without those the folder's name."""
    device = folder.resolve().parent.parent.name
    return device if "-" in device else folder.name
