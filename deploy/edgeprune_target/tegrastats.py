"""The lines that NVIDIA's ``tegrastats`` prints, for every JetPack from 4 to 7: pure functions of text.

Every field is optional: which ones there are depends on the release, the board, and whether root asks. A
field that is not there is None or absent, never 0. Of power and temperature only the first number is
taken: the others are a mean and a maximum since tegrastats started.
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
    """Whether this is one line of statistics: not a warning, not two lines run into each other."""
    return len(RAM.findall(line)) == 1


def rails_w(line: str) -> dict:
    """{rail: watts now}. Slightly negative is possible on an unloaded rail. Empty when none is printed."""
    found: dict = {}
    for name, value, unit, *_ in POWER.findall(line):
        if name not in NOT_RAILS:
            found.setdefault(name, int(value) / (1 if unit == "W" else 1000))
    return found


def temperatures_c(line: str) -> dict:
    """{zone: degrees now}, without gated zones, what cannot be, and PMIC, which is a constant."""
    found = {name: float(now) for name, now, _ in TEMPERATURE.findall(line)}
    return {name: now for name, now in found.items() if possible_c(now) and name.upper() != "PMIC"}


def memory_mb(line: str, kind: str = "RAM") -> tuple | None:
    """(used, total) MB of "RAM" or "SWAP"; None when the line does not say."""
    found = (RAM if kind == "RAM" else SWAP).search(line)
    if found is None:
        return None
    scale = MEGABYTES[found.group(3)]
    return int(found.group(1)) * scale, int(found.group(2)) * scale


def cpus(line: str) -> list:
    """Per core its load in percent (of its present clock), or None where it is off."""
    found = CPU.search(line)
    loads = [re.match(r"\s*(\d{1,9})%", part) for part in found.group(1).split(",")] if found else []
    return [int(load.group(1)) if load else None for load in loads]


def gpu(line: str) -> dict | None:
    """``{"percent", "mhz": [per part]}`` with None for what is not said; None without the field."""
    for name, percent, clock in ENGINE.findall(line):
        if name == "GR3D_FREQ":
            mhz = [int(word) for word in re.findall(r"\b\d{1,9}\b", clock)]
            return {"percent": int(percent) if percent else None, "mhz": mhz or None}
    return None
