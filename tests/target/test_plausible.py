import json
from pathlib import Path
from typing import Any

import pytest
from boards.stand_in import build, gpu, write, zones
from edgeprune_target import tegrastats
from edgeprune_target.clocks import cpu_clocks, gpu_clock
from edgeprune_target.fingerprint import busy_between, cpu_quota
from edgeprune_target.memory import PeakMemory, status_bytes
from edgeprune_target.plausible import is_dead, why_impossible
from edgeprune_target.sensors.base import Sensor
from edgeprune_target.sensors.ina3221 import Ina3221
from edgeprune_target.sensors.rapl import Rapl
from edgeprune_target.sensors.replay import ReplaySensor
from edgeprune_target.sensors.rpi5 import parse_adc
from edgeprune_target.state import state, swap_used_bytes
from edgeprune_target.system import memory_total_bytes, read_number
from edgeprune_target.thermal import passive_trips_c, zone_temperatures_c
from edgeprune_target.window import Window, energy_report

NAN, INF = float("nan"), float("inf")
SECOND = 1_000_000_000


class Scripted(Sensor):
    """Gives one reading after the other."""

    name = "scripted"

    def __init__(self, clock: Any, unit: str, readings: list) -> None:
        super().__init__(clock=clock)
        self.unit, self.readings = unit, iter(readings)

    def why_not(self) -> None:
        return None

    def read(self) -> dict:
        return next(self.readings)


def reported(clock: Any, unit: str, readings: list, totals: list) -> dict:
    """The energy of readings a second apart."""
    window = Window(Scripted(clock, unit, readings), totals=totals, poll=False)
    with window:
        for _ in readings[2:]:
            clock.forward(1)
            window.read_sensor()
        clock.forward(1)
    return energy_report(window, None, [])


@pytest.mark.parametrize("value", [4e9, 501.0, -3.0, NAN, INF, -INF])
def test_one_impossible_reading_makes_the_energy_unknown(clock: Any, value: float) -> None:
    """Not 400 kJ: one line of tegrastats that was cut or garbled."""
    readings = [{"VDD_IN": 5.0}] * 5 + [{"VDD_IN": value}] + [{"VDD_IN": 5.0}] * 5
    report = reported(clock, "watts", readings, [("measured_input", ["VDD_IN"])])
    assert report["gross_j"] is None and report["net_j"] is None
    assert report["reason"].startswith("VDD_IN read ") and "measure again" in report["reason"]
    assert report["rails_j"] == {} and list(report["rail_faults"]) == ["VDD_IN"]
    json.dumps(report, allow_nan=False)


def test_a_fault_of_another_rail_leaves_the_total(clock: Any) -> None:
    readings = [{"VDD_IN": 5.0, "CPU": 1.0}] * 3 + [{"VDD_IN": 5.0, "CPU": 1e6}]
    report = reported(clock, "watts", readings, [("measured_input", ["VDD_IN"])])
    assert report["gross_j"] == pytest.approx(15.0)
    assert (list(report["rails_j"]), list(report["rail_faults"])) == (["VDD_IN"], ["CPU"])


def test_a_faulty_rail_does_not_change_what_stands_for_the_whole(clock: Any) -> None:
    readings = [{"VDD_IN": 1e9, "CPU": 1.0}] * 3
    totals = [("measured_input", ["VDD_IN"]), ("rail_sum", ["CPU"])]
    report = reported(clock, "watts", readings, totals)
    assert (report["total_kind"], report["gross_j"]) == ("measured_input", None)


@pytest.mark.parametrize(
    ("unit", "readings"),
    [("watts", [{"A": 0.0}] * 5), ("watts", [{"A": 0.0, "B": 0}] * 5), ("joules", [{"A": 7.5}] * 5)],
)
def test_a_device_that_takes_nothing_has_a_dead_sensor(clock: Any, unit: str, readings: list) -> None:
    report = reported(clock, unit, readings, [("rail_sum", ["*"])])
    assert report["gross_j"] is None
    assert "the sensor scripted is dead, or not connected" in report["reason"]


def test_a_part_without_power_is_no_fault(clock: Any) -> None:
    report = reported(clock, "watts", [{"CPU": 2.0, "GPU": 0.0}] * 3, [("rail_sum", ["CPU", "GPU"])])
    assert (report["gross_j"], report["reason"]) == (pytest.approx(4.0), None)


@pytest.mark.parametrize(
    ("joules", "message"),
    [
        ([0.0, 5.0, 10.0], None),
        ([0.0, 0.0, 70.0], None),  # a counter that moves in steps
        ([100.0, 105.0, 3.0], "counted backwards, by 102 J"),  # started anew
        ([0.0, 5.0, 262_143.0], "counted 262138 J in 1 s"),  # a wrap-around that was none
        ([0.0, NAN, 1.0], "counted nan J"),
    ],
)
def test_counters(joules: list, message: str | None) -> None:
    times = [0, SECOND, 2 * SECOND]
    reason = why_impossible(times, joules, "joules", 3000.0)
    assert reason is None if message is None else str(reason).startswith(message)


def test_dead() -> None:
    assert is_dead([[0, 0.0]], "watts") and is_dead([[3.0, 3.0]], "joules")
    assert not is_dead([[0.0, 0.1]], "watts") and not is_dead([[0.0], [1.0]], "watts")


@pytest.mark.parametrize("wrap", [0, -5, 10**30])
def test_rapl_with_a_range_that_cannot_be(tmp_path: Path, clock: Any, wrap: int) -> None:
    folder = tmp_path / "sys/class/powercap/intel-rapl:0"
    for name, content in (("name", "package-0"), ("energy_uj", 10**9), ("max_energy_range_uj", wrap)):
        write(folder, name, content)
    sensor = Rapl("", str(tmp_path), clock)
    sensor.name = "rapl"
    window = Window(sensor, poll=False)
    with window:
        write(folder, "energy_uj", 5)
        clock.forward(1)
    report = energy_report(window, None, [])
    assert report["gross_j"] is None and report["reason"]


@pytest.mark.parametrize("content", ["", "nan", "-", "9" * 30, "12a", "\x00\xff"])
def test_an_ina_that_garbles_fails_to_read(tmp_path: Path, content: str) -> None:
    root = build("jetson-orin-nano", tmp_path)
    for file in root.glob("sys/class/hwmon/hwmon1/curr*_input"):
        file.write_text(content)
    sensor = Ina3221("", str(root))
    assert "does not answer" in str(sensor.why_not()) and sensor.read() == {}


@pytest.mark.parametrize(
    "text",
    [
        "t_s,A\nnan,1\n",
        "t_s,A\n2,1\n1,1\n",
        "t_s,A\n0,x\n",
        "t_s,A\n0\n",
        "",
        "t_s\n0\n",
        "\0",
        "a" * 200_000,
    ],
)
def test_a_recording_that_cannot_be_replayed(tmp_path: Path, text: str) -> None:
    path = tmp_path / "power.csv"
    path.write_text(text)
    assert ReplaySensor(str(path)).why_not()


def test_a_pi_that_garbles() -> None:
    message = (
        "A_A current(0)=1.2.3A\nA_V volt(1)=5.0V\nB_A current(2)=.A\nC_A current(3)=0.5A\nC_V volt(4)=2V\n"
    )
    assert parse_adc(message) == {"C": 1.0}
    assert parse_adc("A_A current(0)=" + "9" * 6000 + "A") == {}


GARBLED = [
    "RAM 1/2MB (lfb 1x1MB) CPU [9999999999999%@1] VDD_IN " + "9" * 6000 + "mW/1mW",
    "RAM " + "9" * 6000 + "/2MB (lfb 1x1MB)",
    "RAM 1/2MB (lfb 1x1MB) GR3D_FREQ " + "9" * 6000 + "%@[" + "9" * 6000 + "] gpu@" + "9" * 400 + "C",
    "RAM 1/2MB (lfb 1x1MB) cpu@1e9C VDD_IN -/-mW \x1b[31m",
]


@pytest.mark.parametrize("line", GARBLED)
def test_tegrastats_that_garbles(line: str) -> None:
    tegrastats.is_line(line)
    assert tegrastats.rails_w(line) == {} and tegrastats.line_temperatures_c(line) == {}
    tegrastats.memory_mb(line), tegrastats.cpus(line), tegrastats.gpu(line)


def test_temperatures_that_cannot_be(tmp_path: Path) -> None:
    zones(tmp_path, {"cpu": 45_000, "a": 4_500_000, "b": -273_150, "c": 10**30, "d": -40_000}, 10**9)
    assert zone_temperatures_c(tmp_path) == {"cpu": 45.0, "d": -40.0}
    line = "RAM 1/2MB (lfb 1x1MB) cpu@45C gpu@4500C iwlwifi@-256C out@-40.5C"
    assert tegrastats.line_temperatures_c(line) == {"cpu": 45.0, "out": -40.5}
    assert passive_trips_c(tmp_path) == {}


@pytest.mark.parametrize("content", ["-1", "1" + "0" * 30, "nan", "1.5e9", ""])
def test_clocks_that_cannot_be(tmp_path: Path, content: str) -> None:
    folder = gpu(tmp_path, "57000000.gpu")
    place = "sys/devices/system/cpu/cpu0/cpufreq"
    for name in ("min", "cur", "max"):
        write(folder, f"{name}_freq", content)
        write(tmp_path, f"{place}/scaling_{name}_freq", content)
    clock = gpu_clock(tmp_path)
    assert clock is not None and (clock["min_hz"], clock["cur_hz"], clock["max_hz"]) == (None,) * 3
    assert {cpu_clocks(tmp_path)["clocks"][0][f"{name}_khz"] for name in ("min", "cur", "max")} == {None}


@pytest.mark.parametrize("line", ["", "-5 kB", "x kB", "9" * 100 + " kB"])
def test_memory_that_cannot_be(tmp_path: Path, line: str) -> None:
    write(tmp_path, "proc/meminfo", f"MemTotal: {line}\nSwapTotal: 1 kB\nSwapFree: 5 kB\n")
    write(tmp_path, "proc/status", f"VmHWM: {line}\nVmRSS: {line}\n")
    assert memory_total_bytes(tmp_path) is None and swap_used_bytes(tmp_path) is None
    assert status_bytes(tmp_path / "proc", "VmHWM") is None
    assert PeakMemory(tmp_path / "proc").report()["memory_peak_bytes"] is None


@pytest.mark.parametrize("text", ["0 0", "max 100000", "-1 100000", "x y", "1 2 3", "9" * 99 + " 1"])
def test_quotas_that_cannot_be(tmp_path: Path, text: str) -> None:
    write(tmp_path, "sys/fs/cgroup/cpu.max", text)
    assert cpu_quota(tmp_path) is None


def test_ticks_that_cannot_be() -> None:
    assert busy_between("cpu 1 1 1 1 1 1", "cpu x 1 1 1 1 1", 2) is None
    assert busy_between("cpu 1 1 1 1 1 1", "cpu -1 1 1 9 1 1", 2) is None


def test_numbers_of_more_than_64_bits_are_none(tmp_path: Path) -> None:
    assert read_number(write(tmp_path, "a", 2**63)) is None
    assert read_number(write(tmp_path, "a", "9" * 10_000)) is None
    assert read_number(write(tmp_path, "a", -5)) == -5


def test_a_garbled_machine_has_a_state(tmp_path: Path) -> None:
    """Every file of a board replaced by what no file should hold."""
    for index, content in enumerate((b"\xff\x00\xfe", b"-1\n", b"9" * 5000, b"nan\n")):
        root = build("jetson-orin-nano", tmp_path / str(index))
        for file in (root / "sys").rglob("*"):
            if file.is_file() and not file.is_symlink():
                file.write_bytes(content)
        json.dumps(state(str(root)), allow_nan=False)
