"""Raspberry Pi 5: the outputs of its power management chip, by ``vcgencmd pmic_read_adc``.

Counted: volts times amperes of each output that has both. Not counted: what USB devices take, and what is
lost in converting from the 5 V input, of which the voltage is known and the current is not. Earlier Pis have
no sensor.
"""

from __future__ import annotations

import re

from edgeprune_target.sensors.base import Sensor
from edgeprune_target.system import answer_of

LINE = re.compile(r"(\w+)_([AV])\s+(?:current|volt)\(\d+\)=(-?\d{1,9}(?:\.\d{0,12})?)[AV]")


class RaspberryPi5(Sensor):
    """One rail per output of the chip."""

    total_kind = "rail_sum"
    period_s = 0.1  # each call of the program takes some 10 ms

    def why_not(self) -> str | None:
        """None, or: no such program, or it knows no such measurement (an earlier Pi)."""
        said, reason = self._ask()
        if reason is not None:
            return str(reason)
        return None if parse_adc(said) else "vcgencmd pmic_read_adc gives no currents (only a Pi 5 has them)"

    def read(self) -> dict:
        """{output: watts}."""
        return parse_adc(self._ask()[0])

    def _ask(self) -> tuple:
        return answer_of("vcgencmd", "pmic_read_adc", root=self.root)


def parse_adc(said: str) -> dict:
    """{output: watts} of those that have a line with amperes and one with volts."""
    found: dict = {"A": {}, "V": {}}
    for name, unit, value in LINE.findall(said):
        found[unit][name] = float(value)
    return {name: amperes * found["V"][name] for name, amperes in found["A"].items() if name in found["V"]}
