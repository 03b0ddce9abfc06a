"""Raspberry Pi 5: the outputs of its power management chip, by ``vcgencmd pmic_read_adc``.

Counted: volts times amperes of each output that has both. Not counted: USB devices, and the losses of converting
the 5 V input, whose voltage is known, but not its current. Earlier Pis have no sensor.
"""

from __future__ import annotations

import re

from edgeprune_target.sensors.base import Sensor
from edgeprune_target.system import output_of

LINE = re.compile(r"(\w+)_([AV])\s+(?:current|volt)\(\d+\)=(-?\d{1,9}(?:\.\d{0,12})?)[AV]")


class RaspberryPi5(Sensor):
    """One rail per output of the chip."""

    total_kind = "rail_sum"
    period_s = 0.1  # each call of the program takes about 10 ms

    def why_not(self) -> str | None:
        """Return None, or why the program is missing or reports no currents (an earlier Pi)."""
        output, reason = self._read_adc()
        if reason is not None:
            return str(reason)
        return (
            None if parse_adc(output) else "vcgencmd pmic_read_adc gives no currents (only a Pi 5 has them)"
        )

    def read(self) -> dict:
        """Return {output: watts}."""
        return parse_adc(self._read_adc()[0])

    def _read_adc(self) -> tuple:
        return output_of("vcgencmd", "pmic_read_adc", root=self.root)


def parse_adc(output: str) -> dict:
    """Return {output: watts} of the chip's outputs that have a line with amperes and one with volts."""
    values: dict = {"A": {}, "V": {}}
    for name, unit, value in LINE.findall(output):
        values[unit][name] = float(value)
    return {name: amperes * values["V"][name] for name, amperes in values["A"].items() if name in values["V"]}
