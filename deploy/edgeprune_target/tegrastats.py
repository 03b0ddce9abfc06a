"""Parse the lines of NVIDIA's ``tegrastats``, for every JetPack from 4 to 7: pure functions of text.

Every field is optional: which ones are printed depends on release, board, and root permission. A
missing field is None or absent, never 0. Of power and temperature only the first number is
used: the others are a mean and a maximum since tegrastats started.
"""

from __future__ import annotations

import re

from edgeprune_target.plausible import possible_c

RAM = re.compile(r"(?<![A-Z])RAM (\d{1,9})/(\d{1,9})(k|M|G)B ?\(lfb (\d+)x(\d+)(k|M)B\)")
SWAP = re.compile(r"SWAP (\d{1,9})/(\d{1,9})(k|M|G)B ?\(cached (\d+)(k|M|G)B\)")
CPU = re.compile(r"CPU \[([^\]]*)\](?:@(\d+))?")
ENGINE = re.compile(r"\b(EMC_FREQ|GR3D2?_FREQ)\s+(?:(\d{1,9})%)?(?:@(\[[\d,\s]{0,99}\]|\d{1,9}))?")
TEMPERATURE = re.compile(
    r"(?<!\S)([A-Za-z][\w-]*)@(-?\d{1,9}(?:\.\d{1,9})?)C(?:/(-?\d{1,9}(?:\.\d{1,9})?)C)?"
)
POWER = re.compile(
    r"(?<!\S)([A-Z][A-Z0-9_]*)\s+(-?\d{1,12})(mW|W)?/(-?\d{1,12})(mW|W)?(?:/(-?\d{1,12})(mW|W)?)?(?=\s|$)"
)
NOT_RAILS = ("RAM", "SWAP", "IRAM", "NC")  # NC: a channel that is not connected, and there may be two
MEGABYTES = {"k": 1 / 1024, "M": 1, "G": 1024}


def is_line(line: str) -> bool:
    """Return whether this is one line of statistics: not a warning, not two lines without a line break."""
    return len(RAM.findall(line)) == 1


def rails_w(line: str) -> dict:
    """Return {rail: current watts}; slightly negative values are possible without load. Empty if none is printed."""
    watts: dict = {}
    for name, value, unit, *_ in POWER.findall(line):
        if name not in NOT_RAILS:
            watts.setdefault(name, int(value) / (1 if unit == "W" else 1000))
    return watts


def line_temperatures_c(line: str) -> dict:
    """Return {zone: current degrees}, without gated zones, implausible values, and PMIC, which is a constant."""
    degrees = {name: float(now) for name, now, _ in TEMPERATURE.findall(line)}
    return {name: now for name, now in degrees.items() if possible_c(now) and name.upper() != "PMIC"}


def memory_mb(line: str, kind: str = "RAM") -> tuple | None:
    """Return (used, total) MB of "RAM" or "SWAP"; None if the line has no such field."""
    field = (RAM if kind == "RAM" else SWAP).search(line)
    if field is None:
        return None
    scale = MEGABYTES[field.group(3)]
    return int(field.group(1)) * scale, int(field.group(2)) * scale


def cpus(line: str) -> list:
    """Return the load of each core in percent (of its current clock), or None if the core is off."""
    field = CPU.search(line)
    loads = [re.match(r"\s*(\d{1,9})%", part) for part in field.group(1).split(",")] if field else []
    return [int(load.group(1)) if load else None for load in loads]


def gpu(line: str) -> dict | None:
    """Return ``{"percent", "mhz": [per part]}``, with None for missing values; None without the field."""
    for name, percent, clock in ENGINE.findall(line):
        if name == "GR3D_FREQ":
            mhz = [int(word) for word in re.findall(r"\b\d{1,9}\b", clock)]
            return {"percent": int(percent) if percent else None, "mhz": mhz or None}
    return None
