"""Read temperatures, cooling, over-current counters and alarms from sysfs."""

from __future__ import annotations

from pathlib import Path

from edgeprune_target.plausible import possible_c
from edgeprune_target.system import read_number, text


def zone_temperatures_c(base: Path) -> dict:
    """Return {zone: degrees} without PMIC, which is a constant, and implausible values.

    A sensor in a part of the chip without power reads -256 C, or EAGAIN.
    """
    temperatures = {}
    for zone, folder in _zones(base):
        value = read_number(folder / "temp")
        if value is not None and possible_c(value / 1000) and not zone.upper().startswith("PMIC"):
            temperatures[zone] = value / 1000
    return temperatures


def passive_trips_c(base: Path) -> dict:
    """Return {zone: the lowest temperature from which it slows the chip down}."""
    trips = {}
    for zone, folder in _zones(base):
        points = [path.name[: -len("_type")] for path in folder.glob("trip_point_*_type")]
        passive = [point for point in points if text(folder / f"{point}_type") == "passive"]
        degrees = [read_number(folder / f"{point}_temp") for point in passive]
        above_zero = [
            value / 1000 for value in degrees if value is not None and value > 0 and possible_c(value / 1000)
        ]
        if above_zero:
            trips[zone] = min(above_zero)
    return trips


def cooling(base: Path) -> list:
    """Return ``[{"type", "cur", "max"}]`` of the cooling devices: fans, and clocks that can be lowered."""
    folders = sorted((base / "sys/class/thermal").glob("cooling_device*"))
    return [
        {
            "type": text(folder / "type") or folder.name,
            "cur": read_number(folder / "cur_state"),
            "max": read_number(folder / "max_state"),
        }
        for folder in folders
    ]


def over_current(base: Path) -> dict:
    """Return {counter: events since the start}: oc1 under-voltage, oc2 average, oc3 instant over-current."""
    events = {}
    for folder in _hwmon(base, "soctherm_oc"):
        for path in sorted(folder.glob("oc*_event_cnt")):
            value = read_number(path)
            if value is not None:
                events[path.name[: -len("_event_cnt")]] = value
    return events


def alarms(base: Path) -> list:
    """Return the rails whose current exceeds a limit of the power sensor, as in ``VDD_IN crit``."""
    raised = []
    for folder in _hwmon(base, "ina3221"):
        for path in sorted(folder.glob("curr*_*_alarm")):
            channel, kind = path.name.split("_")[:2]
            if read_number(path):
                raised.append(f"{text(folder / f'in{channel[4:]}_label') or channel} {kind}")
    return raised


def _zones(base: Path) -> list:
    """Return (name without "-thermal", folder) of all zones; a second zone of the same name gets its number."""
    folders: dict = {}
    for folder in sorted((base / "sys/class/thermal").glob("thermal_zone*")):
        name = text(folder / "type") or folder.name
        name = name[: -len("-thermal")] if name.endswith("-thermal") else name
        folders[name if name not in folders else f"{name} {folder.name}"] = folder
    return list(folders.items())


def _hwmon(base: Path, name: str) -> list:
    folders = sorted((base / "sys/class/hwmon").glob("hwmon*"))
    return [folder for folder in folders if text(folder / "name") == name]
