"""Identify the board by its firmware and its system. Profiles are matched on the host."""

from __future__ import annotations

import re
from pathlib import Path

from edgeprune_target.nvml import gpu_list
from edgeprune_target.system import output_of, text

RELEASE = re.compile(r"#\s*R(\d+)\s*\(release\),\s*REVISION:\s*(\d+(?:\.\d+)*)")
PACKAGE = re.compile(r"(\d+\.\d+(?:\.\d+)*)-")
SOCS = ("tegra210", "tegra186", "tegra194", "tegra234", "tegra264")

# L4T -> JetPack (jetson_stats' and jetson-containers' tables, see profiles/). The longest prefix wins.
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
    """Describe this board as JSON; unknown values are None or empty.

    ``model`` and ``compatible`` are the device tree's, ``soc`` is one of ``SOCS``, ``l4t`` NVIDIA's release for
    Jetson and ``jetpack`` its JetPack, ``gpus`` are those that NVML lists.
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
    """Return the device tree's name of the board."""
    return next((name for name in (text(tree / "model") for tree in device_trees(base)) if name), None)


def compatible(base: Path) -> list:
    """Return the device tree's names of compatible boards, the most specific first."""
    for tree in device_trees(base):
        names = text(tree / "compatible")
        if names:
            return [name for name in names.split("\0") if name]
    return []


def device_trees(base: Path) -> list:
    """Return both paths of the device tree; containers often have only that in /sys."""
    return [base / "proc/device-tree", base / "sys/firmware/devicetree/base"]


def l4t(root: str) -> str | None:
    """Return the release of NVIDIA's Linux for Tegra, as in ``36.4.3``: from its release file, else its package."""
    release = RELEASE.search(text(Path(root) / "etc/nv_tegra_release"))
    if release:
        return f"{release.group(1)}.{release.group(2)}"
    output, _ = output_of("dpkg-query", "--show", "nvidia-l4t-core", root=root)
    package = PACKAGE.search(output)
    return package.group(1) if package else None


def jetpack(release: str | None) -> str | None:
    """Return the JetPack of a release of L4T; None if it is newer than this table."""
    words = (release or "").split(".")
    for length in range(len(words), 0, -1):
        prefix = ".".join(words[:length])
        if prefix in JETPACK:
            return JETPACK[prefix]
    return None
