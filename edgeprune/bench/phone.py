"""Fingerprint a phone without a Python: copy its files, and read them as a board's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeprune_target import fingerprint as reading
from edgeprune_target.board import board
from edgeprune_target.scratch import scratch_folder
from edgeprune_target.state import state

from edgeprune.bench.adb import AdbTransport
from edgeprune.bench.program import BenchProgram

# One grep reads them all: a process for each of a thousand files would take seconds, and warm the phone up.
FILES = (
    "/proc/meminfo",
    "/proc/cpuinfo",
    "/proc/loadavg",
    "/sys/devices/system/cpu/online",
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_*_freq",
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor",
    "/sys/class/thermal/thermal_zone*/type",
    "/sys/class/thermal/thermal_zone*/temp",
    "/sys/class/thermal/thermal_zone*/trip_point_*_type",
    "/sys/class/thermal/thermal_zone*/trip_point_*_temp",
    "/sys/class/thermal/cooling_device*/type",
    "/sys/class/thermal/cooling_device*/*_state",
)
READ = f"grep -s -H '' {' '.join(FILES)}; exit 0"
ASK = """\
echo "model=$(getprop ro.product.model)"
echo "chip=$(getprop ro.soc.model)"
echo "android=$(getprop ro.build.version.release)"
echo "abi=$(getprop ro.product.cpu.abi)"
echo "kernel=$(uname -r)"
echo "cores=$(nproc)"
echo "before=$(head -n 1 /proc/stat)"; sleep 0.5; echo "after=$(head -n 1 /proc/stat)"
"""


def tree_of(phone: AdbTransport, folder: Path) -> Path:
    """Copy what the phone shows of /proc and /sys below ``folder``, and return it to serve as ``/``."""
    content: dict[str, list[str]] = {}
    for line in phone.run(READ, f"reading the state of {phone.name}"):
        name, colon, rest = line.partition(":")
        if colon and name.startswith(("/proc/", "/sys/")) and ".." not in name:
            content.setdefault(name, []).append(rest)
    for name, lines in content.items():
        file = folder / name[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines) + "\n")
    return folder


def state_of(tree: Path) -> dict[str, Any]:
    """Return the runner's ``state()`` of such a copy."""
    answer: dict[str, Any] = state(str(tree))
    return answer


def fingerprint(phone: AdbTransport, programs: Sequence[BenchProgram]) -> dict[str, Any]:
    """Return the runner's ``probe()``, as far as files contain it; the rest is None.

    Args:
        phone: that was inspected.
        programs: in its folder; their versions are those of the runtimes.
    """
    versions = [
        f'echo "{program.name}=$(cd {phone.folder} && {program.version_script()})"' for program in programs
    ]
    lines = phone.run("\n".join([ASK, *versions]), f"asking what {phone.name} is")
    answers = dict(line.split("=", 1) for line in lines if "=" in line)
    with scratch_folder() as folder:
        tree = tree_of(phone, Path(folder))
        load = reading.text(tree / "proc/loadavg").split()[:3]
        cores = int(answers["cores"])
        return {
            "runner_version": None,
            "python": None,
            "system": f"Android {answers['android']}, Linux {answers['kernel']}",
            "machine": answers["abi"],
            "board": {**board(str(tree)), "model": answers["model"] or None, "android": True},
            "cpu_model": answers["chip"] or reading.cpu_model(tree),
            "cores_online": cores,
            "cores_available": cores,
            "cores_physical": cores,
            "memory_total_bytes": reading.memory_total_bytes(tree),
            "runtimes": {program.runtime: program.version(answers[program.name]) for program in programs},
            "governors": reading.governors(tree),
            "clock_khz": reading.clocks(tree),
            "load_average": [float(word) for word in load] or None,
            "busy_cores": reading.busy_between(answers["before"], answers["after"], cores),
            "sensor": "none",
            "sensor_reasons": [],
            "state": state_of(tree),
        }
