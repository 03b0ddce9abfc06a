"""What the machine is doing at one moment, to be taken before and after a measurement. Nothing is changed."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from types import TracebackType

from edgeprune_target.clocks import clock_of, cpu_clocks, gpu_clock, gpu_folder, memory_hz
from edgeprune_target.nvml import gpu_states
from edgeprune_target.powermode import power_mode
from edgeprune_target.system import answer_of, text
from edgeprune_target.thermal import alarms, cooling, over_current, passive_trips_c, temperatures_c

WATCH_S = 1.0  # devices.md 3.2: a clock that is low for three seconds on end is a finding


def state(root: str = "/") -> dict:
    """Clocks, power mode, temperatures, cooling, counters and memory, as JSON; None where there is none."""
    base = Path(root)
    return {
        "monotonic_s": time.monotonic(),
        "cpu": cpu_clocks(base),
        "gpu": gpu_clock(base),
        "memory_hz": memory_hz(base),
        "power_mode": power_mode(root),
        "temperatures_c": temperatures_c(base),
        "passive_trips_c": passive_trips_c(base),
        "cooling": cooling(base),
        "over_current": over_current(base),
        "alarms": alarms(base),
        "swap_used_bytes": swap_used_bytes(base),
        "pi_throttled": pi_throttled(root),
        "nvidia": gpu_states() if root == "/" else [],
    }


def swap_used_bytes(base: Path) -> int | None:
    """Of /proc/meminfo."""
    found = dict(re.findall(r"(SwapTotal|SwapFree):\s+(\d{1,15}) kB", text(base / "proc/meminfo")))
    if len(found) != 2:
        return None
    used = int(found["SwapTotal"]) - int(found["SwapFree"])
    return used * 1024 if used >= 0 else None


def pi_throttled(root: str = "/") -> int | None:
    """The bits of ``vcgencmd get_throttled`` on a Raspberry Pi; None elsewhere."""
    said, _ = answer_of("vcgencmd", "get_throttled", root=root)
    found = re.search(r"throttled=0x([0-9a-fA-F]{1,8})\b", said)
    return int(found.group(1), 16) if found else None


class Watch:
    """A context manager: looks at GPU clock and temperatures every ``period_s`` while it is open.

    Without such a GPU and such zones there is no thread.
    """

    def __init__(self, root: str = "/", period_s: float = WATCH_S) -> None:
        """``root`` stands for ``/``."""
        self.base = Path(root)
        self.period_s = period_s
        self.gpu_hz: list = []
        self.warmest_c: dict = {}
        self._clock = gpu_folder(self.base)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        if self._clock or temperatures_c(self.base):
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def report(self) -> dict:
        """``gpu_hz`` (one value per look) and ``warmest_c`` (per zone)."""
        return {"gpu_hz": self.gpu_hz, "warmest_c": self.warmest_c, "period_s": self.period_s}

    def _run(self) -> None:
        while not self._stop.wait(self.period_s):
            hertz = clock_of(self._clock / "cur_freq") if self._clock else None
            if hertz is not None:
                self.gpu_hz.append(hertz)
            for zone, degrees in temperatures_c(self.base).items():
                self.warmest_c[zone] = max(degrees, self.warmest_c.get(zone, degrees))
