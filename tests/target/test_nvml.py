import shutil
import subprocess
from pathlib import Path

import pytest
from edgeprune_target import nvml
from edgeprune_target.nvml import Nvml, NvmlError, gpu_list, gpu_states, value_or_none
from edgeprune_target.sensors.nvml import NvmlSensor

from target.nvml_stand_in import IN_C, FakeNvml


def sensor(answers: dict[str, int], argument: str = "") -> NvmlSensor:
    made = NvmlSensor(argument)
    made.library = FakeNvml(answers)
    return made


def test_energy_counter_is_preferred() -> None:
    made = sensor({"energy_mj": 12_500, "power_mw": 90_000})
    assert (made.why_not(), made.unit) == (None, "joules")
    assert made.read() == {"GPU": 12.5}


def test_power_where_there_is_no_counter() -> None:
    made = sensor({"power_mw": 90_500})
    assert (made.why_not(), made.unit) == (None, "watts")
    assert made.read() == {"GPU": 90.5}


def test_jetson_starts_and_supports_nothing() -> None:
    made = sensor({})
    assert made.why_not() == "nvmlDeviceGetPowerUsage: Not Supported"
    assert made.read() == {}


@pytest.mark.parametrize(
    ("answers", "argument", "reason"),
    [
        ({"init": 9}, "", "nvmlInit_v2: Driver Not Loaded"),
        ({}, "4", "nvmlDeviceGetHandleByIndex_v2: Not Found"),
        ({}, "first", "'first' is not a GPU's number"),
    ],
)
def test_reasons(answers: dict, argument: str, reason: str) -> None:
    assert str(sensor(answers, argument).why_not()).startswith(reason)


def test_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "LIBRARIES", ("libno-such-thing.so.1",))
    assert "no NVIDIA driver" in str(NvmlSensor().why_not())
    assert (gpu_list(), gpu_states()) == ([], [])


def test_list_and_states() -> None:
    library = FakeNvml({"temperature_c": 61, "sm_mhz": 1980, "reasons": 0x01 | 0x04 | 0x40}, cards=2)
    assert gpu_list(library) == [{"name": "NVIDIA Test Card", "driver": "580.1"}] * 2
    state = gpu_states(library)[0]
    assert (state["temperature_c"], state["sm_mhz"]) == (61, 1980)
    assert state["sm_max_mhz"] is None  # the stand-in has no such function: an old driver
    assert state["slowed_by"] == ["power cap", "thermal (hardware)"]  # bit 0 is idleness


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc to build a stand-in library")
def test_types_against_a_library_in_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "n.c").write_text(IN_C)
    library = tmp_path / "libnvidia-ml.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(tmp_path / "n.c")], check=True)
    monkeypatch.setattr(nvml, "LIBRARIES", (str(library),))
    card = Nvml(0)
    assert (card.name(), card.driver(), card.count()) == ("Card in C", "1.2", 1)
    assert (card.energy_mj(), card.energy_mj()) == (5_000_000_000, 10_000_000_000)  # more than 32 bits
    assert (card.power_mw(), card.sm_mhz(), value_or_none(card.temperature_c)) == (250_000, 1980, None)
    with pytest.raises(NvmlError, match="Not Found"):
        Nvml(1)
