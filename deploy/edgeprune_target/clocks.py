"""Read the clocks of processor, GPU and memory from sysfs; they are never set."""

from __future__ import annotations

import re
from pathlib import Path

from edgeprune_target.plausible import possible_hz
from edgeprune_target.system import read_number, text

GPU_NODES = ("gpu", "gv11b", "gp10b", "ga10b")
# Nano 57000000.gpu, Xavier 17000000.gv11b, Orin 17000000.ga10b or .gpu, Thor gpu-gpc-0
GPU_NAME = re.compile(r"\.(gpu|gv11b|gp10b|ga10b)$|^gpu-gpc-\d+$")


def cpu_clocks(base: Path) -> dict:
    """Return ``online`` (as in "0-5"), and ``clocks``: cpu, governor, min_khz, cur_khz, max_khz of each."""
    folder = base / "sys/devices/system/cpu"
    cpu_folders = sorted(folder.glob("cpu[0-9]*"), key=lambda path: int(path.name[3:]))
    return {
        "online": text(folder / "online") or None,
        "clocks": [_cpu(path) for path in cpu_folders if (path / "cpufreq").is_dir()],
    }


def gpu_folder(base: Path) -> Path | None:
    """Return the devfreq folder of a Jetson's GPU, whose name depends on the board; None if there is none."""
    for folder in sorted((base / "sys/class/devfreq").glob("*")):
        if text(folder / "device/of_node/name") in GPU_NODES or GPU_NAME.search(folder.name):
            return folder
    return None


def gpu_clock(base: Path) -> dict | None:
    """Return ``{"name", "governor", "min_hz", "cur_hz", "max_hz", "load_percent"}``; None without such a GPU."""
    folder = gpu_folder(base)
    if folder is None:
        return None
    load = read_number(folder / "device/load")  # tenths of a percent
    return {
        "name": folder.name,
        "governor": text(folder / "governor") or None,
        "min_hz": clock_of(folder / "min_freq"),
        "cur_hz": clock_of(folder / "cur_freq"),
        "max_hz": clock_of(folder / "max_freq"),
        "load_percent": load / 10 if load is not None and 0 <= load <= 1000 else None,
    }


def memory_hz(base: Path) -> int | None:
    """Return the memory controller's clock, which only root may read; None if it is unknown."""
    return clock_of(base / "sys/kernel/debug/bpmp/debug/clk/emc/rate")


def clock_of(path: Path, hertz: int = 1) -> int | None:
    """Return a clock from a file, in units of ``hertz``; None if it is missing or implausible."""
    clock = read_number(path)
    return clock if clock is not None and possible_hz(clock * hertz) else None


def locked(clock: dict, unit: str) -> bool | None:
    """Return whether the lowest allowed clock is the highest; None if either is unknown."""
    low, high = clock.get(f"min_{unit}"), clock.get(f"max_{unit}")
    return None if low is None or high is None else low == high


def _cpu(path: Path) -> dict:
    folder = path / "cpufreq"
    return {
        "cpu": int(path.name[3:]),
        "governor": text(folder / "scaling_governor") or None,
        "min_khz": clock_of(folder / "scaling_min_freq", 1000),
        "cur_khz": clock_of(folder / "scaling_cur_freq", 1000),
        "max_khz": clock_of(folder / "scaling_max_freq", 1000),
    }
