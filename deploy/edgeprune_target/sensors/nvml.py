"""NVML: what a whole NVIDIA graphics card takes. Not on Jetson, where NVML answers no power at all.

From Volta on the card counts its joules itself; older ones only tell their power. Either is refreshed some
10 to 50 times a second, and A100 and H100 look only a quarter of the time: measure for several seconds.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any, Callable

from edgeprune_target.nvml import Nvml, NvmlError
from edgeprune_target.sensors.base import Sensor


class NvmlSensor(Sensor):
    """The rail ``GPU``. The argument is the GPU's number in NVML's order, 0 without one."""

    total_kind = "rail_sum"  # the card alone: neither processor nor power supply
    most_w = 5000.0  # the largest cards take some 1,400 W
    period_s = 0.1

    def __init__(
        self, argument: str = "", root: str = "/", clock: Callable[[], int] = perf_counter_ns
    ) -> None:
        super().__init__(argument, root, clock)
        self.library: Any = None  # tests put a stand-in here
        self.gpu: Nvml | None = None

    def why_not(self) -> str | None:
        """None, or which call is refused, and how."""
        if not (self.argument or "0").isdigit():
            return f"{self.argument!r} is no number of a GPU: write nvml:0"
        try:
            self.gpu = Nvml(int(self.argument or "0"), self.library)
            self.unit = "watts" if _refused(self.gpu.energy_mj) else "joules"
            self._number()
        except NvmlError as error:
            return str(error)
        return None

    def read(self) -> dict:
        """Joules counted, or watts."""
        try:
            return {"GPU": self._number()}
        except NvmlError:
            return {}

    def _number(self) -> float:
        gpu = self.gpu or Nvml(int(self.argument or "0"), self.library)
        return (gpu.energy_mj() if self.unit == "joules" else gpu.power_mw()) / 1000


def _refused(call: Callable[[], int]) -> bool:
    try:
        call()
    except NvmlError:
        return True
    return False
