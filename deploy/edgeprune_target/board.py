"""Which board this is: what its firmware and its system say. Profiles are matched elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

from edgeprune_target.nvml import gpu_list
from edgeprune_target.system import answer_of, text

RELEASE = re.compile(r"#\s*R(\d+)\s*\(release\),\s*REVISION:\s*(\d+(?:\.\d+)*)")
PACKAGE = re.compile(r"(\d+\.\d+(?:\.\d+)*)-")
SOCS = ("tegra210", "tegra186", "tegra194", "tegra234", "tegra264")

# L4T -> JetPack (jetson_stats' and jetson-containers' tables, see profiles/). The longest prefix counts.
JETPACK = {
    "32.6.1": "4.6",
    "32.7.1": "4.6.1",
    "32.7": "4.6",
    "35.1.0": "5.0.2",
    "35.2.1": "5.1",
    "35.3.1": "5.1.1",
    "35.4.1": "5.1.2",
    "35.5.0": "5.1.3",
    "35.6.0": "5.1.4",
    "35.6.4": "5.1.6",
    "35.6": "5.1.5",
    "36.2.0": "6.0 DP",
    "36.3.0": "6.0",
    "36.4.0": "6.1",
    "36.4.3": "6.2",
    "36.4": "6.2.1",
    "36.5.0": "6.2.2",
    "38.2": "7.0",
    "38.4": "7.1",
    "39.2.0": "7.2",
    "39.2.1": "7.2.1",
    "39.2.2": "7.2.2",
}


def board(root: str = "/") -> dict:
    """What this board is, as JSON; None or empty where nothing says so.

    ``model`` and ``compatible`` are the device tree's, ``soc`` one of ``SOCS``, ``l4t`` NVIDIA's release for
    Jetson and ``jetpack`` the JetPack it belongs to, ``gpus`` what NVML lists.
    """
    base = Path(root)
    names = compatible(base)
    release = l4t(root)
    return {
        "model": model(base),
        "compatible": names,
        "soc": next((soc for soc in SOCS if any(soc in name for name in names)), None),
        "l4t": release,
        "jetpack": jetpack(release),
        "android": text(base / "system/build.prop") != "",
        "gpus": gpu_list() if root == "/" else [],
    }


def model(base: Path) -> str | None:
    """The device tree's name of the board."""
    return next((found for found in (text(tree / "model") for tree in device_trees(base)) if found), None)


def compatible(base: Path) -> list:
    """The device tree's list of what the board is compatible with, most exact first."""
    for tree in device_trees(base):
        found = text(tree / "compatible")
        if found:
            return [name for name in found.split("\0") if name]
    return []


def device_trees(base: Path) -> list:
    """Both places of the device tree; containers often have only the one in /sys."""
    return [base / "proc/device-tree", base / "sys/firmware/devicetree/base"]


def l4t(root: str) -> str | None:
    """NVIDIA's Linux for Tegra, as in ``36.4.3``: from its release file, else from its package."""
    found = RELEASE.search(text(Path(root) / "etc/nv_tegra_release"))
    if found:
        return f"{found.group(1)}.{found.group(2)}"
    said, _ = answer_of("dpkg-query", "--show", "nvidia-l4t-core", root=root)
    package = PACKAGE.search(said)
    return package.group(1) if package else None


def jetpack(release: str | None) -> str | None:
    """The JetPack of a release of L4T; None when this table is too old to know."""
    words = (release or "").split(".")
    for length in range(len(words), 0, -1):
        prefix = ".".join(words[:length])
        if prefix in JETPACK:
            return JETPACK[prefix]
    return None
