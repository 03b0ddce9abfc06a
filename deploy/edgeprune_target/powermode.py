"""The power mode of a Jetson, by ``nvpmodel -q``. It is read and never set."""

from __future__ import annotations

import re
from pathlib import Path

from edgeprune_target.system import answer_of, text

NAME = re.compile(r"NV Power Mode:\s*(\S+)")
LISTED = re.compile(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+?)\s*>")


def power_mode(root: str = "/") -> dict:
    """``{"name", "id", "modes": {id: name}, "reason"}``; name and id None with a reason where there is none.

    Numbers differ from board to board and from release to release: the name is what counts.
    """
    said, reason = answer_of("nvpmodel", "-q", root=root)
    found = parse_mode(said)
    if reason is None and found["name"] is None:
        reason = f"nvpmodel -q names no mode: {' '.join(said.split())[:100]}"
    return {**found, "modes": listed_modes(root), "reason": reason}


def parse_mode(said: str) -> dict:
    """Name and number from what ``nvpmodel -q`` prints.

    Warnings may come first, and the number, on the line after the name, is sometimes missing.
    """
    name = NAME.search(said)
    if name is None:
        return {"name": None, "id": None}
    after = said[name.end() :].split()
    return {"name": name.group(1), "id": int(after[0]) if after and after[0].isdigit() else None}


def listed_modes(root: str) -> dict:
    """{id as text: name} of the modes in /etc/nvpmodel.conf; empty where that is not readable."""
    return dict(LISTED.findall(text(Path(root) / "etc/nvpmodel.conf")))
