"""Read the state of the machine before and after a measurement, without changing it."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from types import TracebackType

from edgeprune_target.clocks import clock_of, cpu_clocks, gpu_clock, gpu_folder, memory_hz
from edgeprune_target.nvml import gpu_states
from edgeprune_target.powermode import power_mode
from edgeprune_target.system import output_of, text
from edgeprune_target.thermal import alarms, cooling, over_current, passive_trips_c, zone_temperatures_c

WATCH_S = 1.0  # devices.md 3.2: a clock that is low for three seconds in a row is reported


def state(root: str = "/") -> dict:
    """Return clocks, power mode, temperatures, cooling, counters and memory, as JSON; unknown values are None."""
    base = Path(root)
    return {
        "monotonic_s": time.monotonic(),
        "cpu": cpu_clocks(base),
        "gpu": gpu_clock(base),
        "memory_hz": memory_hz(base),
        "power_mode": power_mode(root),
        "temperatures_c": zone_temperatures_c(base),
        "passive_trips_c": passive_trips_c(base),
        "cooling": cooling(base),
        "over_current": over_current(base),
        "alarms": alarms(base),
        "swap_used_bytes": swap_used_bytes(base),
        "pi_throttled": pi_throttled(root),
        "nvidia": gpu_states() if root == "/" else [],
    }


def swap_used_bytes(base: Path) -> int | None:
    """Return the swap in use, from /proc/meminfo."""
    kilobytes = dict(re.findall(r"(SwapTotal|SwapFree):\s+(\d{1,15}) kB", text(base / "proc/meminfo")))
    if len(kilobytes) != 2:
        return None
    used = int(kilobytes["SwapTotal"]) - int(kilobytes["SwapFree"])
    return used * 1024 if used >= 0 else None


def pi_throttled(root: str = "/") -> int | None:
    """Return the bits of ``vcgencmd get_throttled`` on a Raspberry Pi; None elsewhere."""
    output, _ = output_of("vcgencmd", "get_throttled", root=root)
    bits = re.search(r"throttled=0x([0-9a-fA-F]{1,8})\b", output)
    return int(bits.group(1), 16) if bits else None


class Watch:
    """A context manager that reads GPU clock and temperatures every ``period_s`` while it is open.

    Without such a GPU and such zones, no thread is started.
    """

    def __init__(self, root: str = "/", period_s: float = WATCH_S) -> None:
        """Prepare to watch; ``root`` is used in place of ``/``."""
        self.base = Path(root)
        self.period_s = period_s
        self.gpu_hz: list = []
        self.warmest_c: dict = {}
        self._clock = gpu_folder(self.base)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        if self._clock or zone_temperatures_c(self.base):
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def report(self) -> dict:
        """Return ``gpu_hz`` (one value per read) and ``warmest_c`` (per zone)."""
        return {"gpu_hz": self.gpu_hz, "warmest_c": self.warmest_c, "period_s": self.period_s}

    def _run(self) -> None:
        while not self._stop.wait(self.period_s):
            hertz = clock_of(self._clock / "cur_freq") if self._clock else None
            if hertz is not None:
                self.gpu_hz.append(hertz)
            for zone, degrees in zone_temperatures_c(self.base).items():
                self.warmest_c[zone] = max(degrees, self.warmest_c.get(zone, degrees))
