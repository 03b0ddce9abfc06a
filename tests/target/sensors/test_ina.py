"""INA3221 by the old driver and the new, and INA238, on made-up sysfs trees (devices.md 10)."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from boards.stand_in import ina238, ina3221, ina3221x
from edgeprune_target.sensors import make_sensor
from edgeprune_target.sensors.numberfile import NumberFile

ORIN_5 = (("VDD_GPU_SOC", 4900, 2000), ("VDD_CPU_CV", 4900, 1000), ("VIN_SYS_5V0", 5000, 1600))
ORIN_6 = (("", 5000, 1), ("VDDQ_VDD2_1V8AO", 1800, 500), ("NC", 5000, 1))


def milliwatts(sensor: Any) -> dict[str, int]:
    return {rail: round(1000 * watts) for rail, watts in sensor.read().items()}


def test_old_driver(tmp_path: Path) -> None:
    folder = ina3221x(
        tmp_path, "6-0040", 1, (("POM_5V_IN", 5040, 203), ("NC", 5000, 9), ("POM_5V_CPU", 5000, 40))
    )
    (folder / "in_power0_input").write_text("1022\n")
    sensor = make_sensor("ina3221x", str(tmp_path))
    assert sensor.why_not() is None
    assert milliwatts(sensor) == {"POM_5V_IN": 1022, "POM_5V_CPU": 200}


def test_old_driver_without_power_multiplies(tmp_path: Path) -> None:
    folder = ina3221x(tmp_path, "6-0040", 1, (("POM_5V_IN", 5040, 203),))
    (folder / "in_power0_input").unlink()
    assert milliwatts(make_sensor("ina3221x", str(tmp_path))) == {"POM_5V_IN": 1023}


def test_new_driver_multiplies_and_skips_the_sum_of_shunts(tmp_path: Path) -> None:
    ina3221(
        tmp_path, "1-0040", 1, (("VDD_IN", 4984, 1856), ("VDD_CPU_GPU_CV", 5000, 100), ("VDD_SOC", 5000, 1))
    )
    sensor = make_sensor("ina3221", str(tmp_path))
    assert sensor.why_not() is None
    assert milliwatts(sensor) == {"VDD_IN": 9250, "VDD_CPU_GPU_CV": 500, "VDD_SOC": 5}


def test_two_chips_without_what_is_not_connected(tmp_path: Path) -> None:
    ina3221(tmp_path, "1-0040", 5, ORIN_5)
    ina3221(tmp_path, "1-0041", 6, ORIN_6)
    result = milliwatts(make_sensor("ina3221", str(tmp_path)))
    assert result == {"VDD_GPU_SOC": 9800, "VDD_CPU_CV": 4900, "VIN_SYS_5V0": 8000, "VDDQ_VDD2_1V8AO": 900}


@pytest.mark.parametrize("gone", ["sys/class", "sys/bus"])
def test_either_way_into_sysfs_is_enough(tmp_path: Path, gone: str) -> None:
    ina3221(tmp_path, "1-0040", 1, (("VDD_IN", 5000, 1000),))
    (tmp_path / gone).rename(tmp_path / "away")
    assert milliwatts(make_sensor("ina3221", str(tmp_path))) == {"VDD_IN": 5000}


def test_rails_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for index, address in enumerate(("1-0040", "1-0041")):
        ina3221(tmp_path, address, index, (("VDD_IN", 5000, 1000 + index),))
    assert milliwatts(make_sensor("ina3221", str(tmp_path))) == {"VDD_IN": 5000, "VDD_IN@1-0041": 5005}


def test_negative_current_is_kept(tmp_path: Path) -> None:
    ina3221(tmp_path, "1-0040", 1, (("VDD_GPU", 5000, -8),))
    assert milliwatts(make_sensor("ina3221", str(tmp_path))) == {"VDD_GPU": -40}


def test_ina238_is_in_microwatts(tmp_path: Path) -> None:
    folder = ina238(tmp_path, 16_830)
    sensor = make_sensor("ina238", str(tmp_path))
    assert (sensor.why_not(), milliwatts(sensor)) == (None, {"VIN": 16_830})
    sensor.close()
    (folder / "power1_input").unlink()
    (folder / "label").unlink()
    assert milliwatts(make_sensor("ina238", str(tmp_path))) == {"VIN": 20 * 841}  # 20 V times 841 mA


def test_values_are_read_anew_from_the_open_file(tmp_path: Path) -> None:
    folder = ina3221(tmp_path, "1-0040", 1, (("VDD_IN", 5000, 1000),))
    sensor = make_sensor("ina3221", str(tmp_path))
    assert milliwatts(sensor) == {"VDD_IN": 5000}
    (folder / "curr1_input").write_text("20\n")
    assert milliwatts(sensor) == {"VDD_IN": 100}
    sensor.close()
    assert milliwatts(sensor) == {"VDD_IN": 100}


def refuse(monkeypatch: pytest.MonkeyPatch, number: int, name: str) -> None:
    """Reading a file of that name fails with that error."""
    really = NumberFile.__call__

    def read(file: NumberFile) -> int:
        if file.path.name == name:
            raise OSError(number, os.strerror(number))
        return really(file)

    monkeypatch.setattr(NumberFile, "__call__", read)


def test_rail_without_power_answers_eagain_and_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ina3221(tmp_path, "1-0040", 1, (("VDD_IN", 5000, 1000), ("VDD_CV", 5000, 1)))
    refuse(monkeypatch, errno.EAGAIN, "curr2_input")
    sensor = make_sensor("ina3221", str(tmp_path))
    assert (sensor.why_not(), milliwatts(sensor)) == (None, {"VDD_IN": 5000})


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EACCES, "only root may read"), (errno.EAGAIN, "does not answer .*unavailable")],
)
def test_chip_that_never_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    ina3221(tmp_path, "1-0040", 1, (("VDD_IN", 5000, 1000),))
    refuse(monkeypatch, number, "in1_input")
    sensor = make_sensor("ina3221", str(tmp_path))
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(sensor.why_not())
    assert sensor.read() == {}


@pytest.mark.parametrize("name", ["ina3221", "ina3221x", "ina238"])
def test_absent_chip_says_what_a_container_needs(tmp_path: Path, name: str) -> None:
    sensor = make_sensor(name, str(tmp_path))
    assert "-v /sys:/sys:ro" in str(sensor.why_not())
    assert sensor.read() == {}


def test_number_file_that_is_no_number(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("warm\n")
    with pytest.raises(ValueError, match="warm"):
        NumberFile(path)()
