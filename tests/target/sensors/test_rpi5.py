from pathlib import Path

import pytest
from boards.stand_in import PI, program
from edgeprune_target.sensors.rpi5 import RaspberryPi5, parse_adc

# Verbatim pairs of lines (devices.md 7.5), with one that has volts alone.
SAID = """\
   VDD_CORE_A current(7)=1.42880000A
   HDMI_A current(22)=0.02000000A
  VDD_CORE_V volt(15)=0.90659250V
     EXT5V_V volt(24)=5.05716000V
      BATT_V volt(25)=0.00000000V
        HDMI_V volt(23)=5.00000000V
"""


def test_volts_times_amperes_of_what_has_both() -> None:
    assert parse_adc(SAID) == {"VDD_CORE": pytest.approx(1.4288 * 0.9065925), "HDMI": pytest.approx(0.1)}


def test_of_the_program(tmp_path: Path) -> None:
    program(tmp_path, "usr/bin/vcgencmd", PI)
    sensor = RaspberryPi5(root=str(tmp_path))
    assert (sensor.why_not(), sensor.total_kind) == (None, "rail_sum")
    assert sensor.read() == {"3V3_SYS": pytest.approx(1.0), "VDD_CORE": pytest.approx(4.0)}


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (None, "no program vcgencmd"),
        ("echo 'Command not registered'", "only a Pi 5"),
        ("echo 'VCHI initialization failed'; exit 255", "failed: VCHI initialization failed"),
    ],
)
def test_reasons(tmp_path: Path, script: str | None, words: str) -> None:
    if script:
        program(tmp_path, "usr/bin/vcgencmd", f"#!/bin/sh\n{script}\n")
    sensor = RaspberryPi5(root=str(tmp_path))
    assert words in str(sensor.why_not())
    assert sensor.read() == {}
