"""NVML: total power of an NVIDIA graphics card. Not on Jetson, where NVML reports no power.

From Volta on the card counts its joules itself; older cards only report their power. Either is updated about
10 to 50 times a second, and A100 and H100 sample only a quarter of the time: measure for several seconds.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any, Callable

from edgeprune_target.nvml import Nvml, NvmlError
from edgeprune_target.sensors.base import Sensor


class NvmlSensor(Sensor):
    """The rail ``GPU``. The argument is the GPU's number in NVML's order, 0 without one."""

    total_kind = "rail_sum"  # only the card: neither processor nor power supply
    most_w = 5000.0  # the largest cards need about 1,400 W
    period_s = 0.1

    def __init__(
        self, argument: str = "", root: str = "/", clock: Callable[[], int] = perf_counter_ns
    ) -> None:
        super().__init__(argument, root, clock)
        self.library: Any = None  # tests put a stand-in here
        self.gpu: Nvml | None = None

    def why_not(self) -> str | None:
        """Return None, or the call that fails, with its error."""
        if not (self.argument or "0").isdigit():
            return f"{self.argument!r} is not a GPU's number: write nvml:0"
        try:
            self.gpu = Nvml(int(self.argument or "0"), self.library)
            self.unit = "watts" if _refused(self.gpu.energy_mj) else "joules"
            self._number()
        except NvmlError as error:
            return str(error)
        return None

    def read(self) -> dict:
        """Return the accumulated joules, or watts."""
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
