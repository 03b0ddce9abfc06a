"""Describe this machine and its current load. Whatever cannot be read is None."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

from edgeprune_target import __version__
from edgeprune_target.board import board
from edgeprune_target.clocks import clock_of
from edgeprune_target.runtimes import runtime_versions
from edgeprune_target.sensors import first_available
from edgeprune_target.state import state
from edgeprune_target.system import memory_total_bytes, text, whole_number

BUSY_WINDOW_S = 0.3  # long enough for some 30 scheduler ticks per core


def probe(sensors: list, root: str = "/") -> dict:
    """Return the fingerprint as JSON: board, processor, memory, load, versions, state, the available sensor."""
    base = Path(root)
    sensor, reasons = first_available(sensors, root)
    sensor.close()
    return {
        "runner_version": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "board": board(root),
        "cpu_model": cpu_model(base),
        "cores_online": os.cpu_count(),
        "cores_available": len(available_cpus()),
        "cores_physical": physical_cores(base, available_cpus()),
        "memory_total_bytes": memory_total_bytes(base),
        "runtimes": runtime_versions(root),
        "governors": governors(base),
        "clock_khz": clocks(base),
        "load_average": load_average(),
        "busy_cores": busy_cores(base),
        "sensor": sensor.name,
        "sensor_reasons": reasons,
        "state": state(root),
    }


def cpu_model(base: Path) -> str | None:
    """Return the processor's name; on ARM boards, which print none, the board's."""
    for line in text(base / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model", "Hardware", "cpu model"):
            return value.strip()
    return text(base / "proc/device-tree/model") or platform.processor() or None


def available_cpus() -> list:
    """Return the numbers of the logical CPUs on which this process may run."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def physical_cores(base: Path, cpus: list) -> int:
    """Count the distinct cores among ``cpus`` (two hyper-threads are one), within the container's CPU quota."""
    cores = {_core_of(base, cpu) for cpu in cpus}
    quota = cpu_quota(base)
    return max(1, min(len(cores), int(quota)) if quota else len(cores))


def cpu_quota(base: Path) -> float | None:
    """Return the number of CPUs that the cgroup may use (cpu.max: ``quota period``, us); None without a limit."""
    words = text(base / "sys/fs/cgroup/cpu.max").split()
    if len(words) != 2 or words[0] == "max":
        return None
    quota, period = map(whole_number, words)
    return quota / period if quota and period and quota > 0 and period > 0 else None


def governors(base: Path) -> list | None:
    """Return the distinct frequency governors of all cores; None if there are none (virtual machines)."""
    files = sorted(base.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor"))
    return sorted({text(file).strip() for file in files} - {""}) or None


def clocks(base: Path) -> dict | None:
    """Return the range over all cores of the current, minimum and maximum clock: {"cur": [low, high], ...}, kHz."""
    ranges = {}
    for name in ("cur", "min", "max"):
        files = base.glob(f"sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_{name}_freq")
        values = [khz for khz in (clock_of(file, 1000) for file in files) if khz is not None]
        if values:
            ranges[name] = [min(values), max(values)]
    return ranges or None


def load_average() -> list | None:
    """Return the load over the last 1, 5 and 15 minutes; it lags, so that recently finished work still counts."""
    return list(os.getloadavg()) if hasattr(os, "getloadavg") else None


def busy_cores(base: Path, window_s: float = BUSY_WINDOW_S) -> float | None:
    """Return how many cores all processes keep busy, over ``window_s`` while this one sleeps."""
    before = text(base / "proc/stat")
    time.sleep(window_s)
    return busy_between(before, text(base / "proc/stat"), os.cpu_count() or 1)


def busy_between(earlier: str, later: str, cores: int) -> float | None:
    """Return how many cores were busy between two readings of /proc/stat.

    Args:
        earlier: text of the first reading.
        later: text of the second.
        cores: number of logical CPUs.
    """
    before, after = _cpu_ticks(earlier), _cpu_ticks(later)
    if before is None or after is None or after[1] <= before[1]:
        return None
    return max(0.0, cores * (after[0] - before[0]) / (after[1] - before[1]))


def _cpu_ticks(stat: str) -> tuple | None:
    """Return (busy, all) ticks since boot; columns: user nice system idle iowait irq softirq steal."""
    words = stat.partition("\n")[0].split()
    if len(words) < 6 or words[0] != "cpu":
        return None
    numbers = [whole_number(word) for word in words[1:9]]
    ticks = [number for number in numbers if number is not None and number >= 0]
    if len(ticks) < len(numbers):
        return None
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def _core_of(base: Path, cpu: int) -> tuple:
    folder = base / f"sys/devices/system/cpu/cpu{cpu}/topology"
    package, core = text(folder / "physical_package_id").strip(), text(folder / "core_id").strip()
    return (package, core) if core else ("cpu", str(cpu))
