"""Read the power mode of a Jetson by ``nvpmodel -q``; it is never set."""

from __future__ import annotations

import re
from pathlib import Path

from edgeprune_target.system import output_of, text

NAME = re.compile(r"NV Power Mode:\s*(\S+)")
LISTED = re.compile(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+?)\s*>")


def power_mode(root: str = "/") -> dict:
    """Return ``{"name", "id", "modes": {id: name}, "reason"}``; without a mode, name and id are None.

    Numbers depend on board and release, so modes are compared by name.
    """
    output, reason = output_of("nvpmodel", "-q", root=root)
    mode = parse_mode(output)
    if reason is None and mode["name"] is None:
        reason = f"nvpmodel -q names no mode: {' '.join(output.split())[:100]}"
    return {**mode, "modes": listed_modes(root), "reason": reason}


def parse_mode(output: str) -> dict:
    """Parse name and number from the output of ``nvpmodel -q``.

    Warnings may come first, and the number, on the line after the name, is sometimes missing.
    """
    name = NAME.search(output)
    if name is None:
        return {"name": None, "id": None}
    after = output[name.end() :].split()
    return {"name": name.group(1), "id": int(after[0]) if after and after[0].isdigit() else None}


def listed_modes(root: str) -> dict:
    """Return {id as text: name} of the modes in /etc/nvpmodel.conf; empty if it is not readable."""
    return dict(LISTED.findall(text(Path(root) / "etc/nvpmodel.conf")))
