"""Temperatures, cooling, over-current counters and alarms, from sysfs."""

from __future__ import annotations

from pathlib import Path

from edgeprune_target.plausible import possible_c
from edgeprune_target.system import number, text


def temperatures_c(base: Path) -> dict:
    """{zone: degrees}; without PMIC, which is a constant, and what cannot be.

    A sensor in a part of the chip without power says -256 C, or EAGAIN.
    """
    found = {}
    for zone, folder in _zones(base):
        value = number(folder / "temp")
        if value is not None and possible_c(value / 1000) and not zone.upper().startswith("PMIC"):
            found[zone] = value / 1000
    return found


def passive_trips_c(base: Path) -> dict:
    """{zone: the lowest temperature from which it slows the chip down}."""
    found = {}
    for zone, folder in _zones(base):
        points = [path.name[: -len("_type")] for path in folder.glob("trip_point_*_type")]
        passive = [point for point in points if text(folder / f"{point}_type") == "passive"]
        degrees = [number(folder / f"{point}_temp") for point in passive]
        above_zero = [
            value / 1000 for value in degrees if value is not None and value > 0 and possible_c(value / 1000)
        ]
        if above_zero:
            found[zone] = min(above_zero)
    return found


def cooling(base: Path) -> list:
    """``[{"type", "cur", "max"}]`` of the cooling devices: fans, and clocks that are held down."""
    folders = sorted((base / "sys/class/thermal").glob("cooling_device*"))
    return [
        {
            "type": text(folder / "type") or folder.name,
            "cur": number(folder / "cur_state"),
            "max": number(folder / "max_state"),
        }
        for folder in folders
    ]


def over_current(base: Path) -> dict:
    """{counter: events since the start}: oc1 under-voltage, oc2 average, oc3 instant over-current."""
    found = {}
    for folder in _hwmon(base, "soctherm_oc"):
        for path in sorted(folder.glob("oc*_event_cnt")):
            value = number(path)
            if value is not None:
                found[path.name[: -len("_event_cnt")]] = value
    return found


def alarms(base: Path) -> list:
    """Rails whose current is above a limit of the power sensor just now, as in ``VDD_IN crit``."""
    found = []
    for folder in _hwmon(base, "ina3221"):
        for path in sorted(folder.glob("curr*_*_alarm")):
            channel, kind = path.name.split("_")[:2]
            if number(path):
                found.append(f"{text(folder / f'in{channel[4:]}_label') or channel} {kind}")
    return found


def _zones(base: Path) -> list:
    """(name without "-thermal", folder); a second zone of one name gets its number."""
    found: dict = {}
    for folder in sorted((base / "sys/class/thermal").glob("thermal_zone*")):
        name = text(folder / "type") or folder.name
        name = name[: -len("-thermal")] if name.endswith("-thermal") else name
        found[name if name not in found else f"{name} {folder.name}"] = folder
    return list(found.items())


def _hwmon(base: Path, name: str) -> list:
    folders = sorted((base / "sys/class/hwmon").glob("hwmon*"))
    return [folder for folder in folders if text(folder / "name") == name]
