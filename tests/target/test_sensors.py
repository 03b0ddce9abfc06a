from pathlib import Path
from typing import Any

import pytest
from edgeprune_target.errors import TargetError
from edgeprune_target.sensors import SENSORS, first_available, make_sensor, probe_all
from edgeprune_target.sensors.base import Sensor
from edgeprune_target.sensors.rapl import Rapl
from edgeprune_target.sensors.replay import ReplaySensor


def zone(root: Path, folder: str, name: str, energy_uj: int, range_uj: int = 1000) -> Path:
    path = root / "sys/class/powercap" / folder
    path.mkdir(parents=True, exist_ok=True)
    (path / "name").write_text(name + "\n")
    (path / "energy_uj").write_text(f"{energy_uj}\n")
    (path / "max_energy_range_uj").write_text(f"{range_uj}\n")
    return path / "energy_uj"


@pytest.mark.parametrize("name", sorted(SENSORS))
def test_every_sensor_has_the_interface(name: str, tmp_path: Path) -> None:
    sensor = make_sensor(f"{name}:{tmp_path / 'absent'}", str(tmp_path))
    assert sensor.name == name
    assert sensor.unit in ("watts", "joules")
    assert sensor.total_kind in ("measured_input", "rail_sum", "none")
    assert sensor.period_s > 0
    assert isinstance(sensor.why_not(), str)
    sensor.close()
    sensor.close()


def test_reading_is_stamped_with_the_middle_of_the_time_it_took(clock: Any) -> None:
    class Slow(Sensor):
        def read(self) -> dict:
            self.clock.forward(4)
            return {"A": 1.0}

    clock.forward(10)
    assert Slow(clock=clock).take() == [(12_000_000_000, {"A": 1.0})]


def test_unknown_sensor_lists_the_known() -> None:
    with pytest.raises(TargetError, match="known are ina238, ina3221, .*rapl, replay"):
        make_sensor("nvml2")


def test_replay_interpolates_and_stays(tmp_path: Path, clock: Any) -> None:
    path = tmp_path / "p.csv"
    path.write_text("t_s,CPU,GPU\n100,2,0\n110,4,10\n")
    sensor = ReplaySensor(str(path), clock=clock)
    assert sensor.why_not() is None
    assert sensor.read() == {"CPU": 2.0, "GPU": 0.0}
    clock.forward(5)
    assert sensor.read() == {"CPU": 3.0, "GPU": 5.0}
    clock.forward(60)
    assert sensor.read() == {"CPU": 4.0, "GPU": 10.0}


@pytest.mark.parametrize(
    "text", ["", "t_s,CPU\n", "t_s\n1\n", "CPU\n1\n", "t_s,CPU\n0,warm\n", "t_s,CPU\n0\n"]
)
def test_replay_of_a_bad_file_says_so(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.csv"
    path.write_text(text)
    assert "p.csv" in str(ReplaySensor(str(path)).why_not())


def test_rapl_counts_packages_only(tmp_path: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 100)
    zone(tmp_path, "intel-rapl:0:0", "core", 50)
    zone(tmp_path, "intel-rapl:1", "psys", 900)
    sensor = Rapl(root=str(tmp_path))
    assert sensor.why_not() is None
    assert sensor.read() == {"package-0": 0.0}
    package.write_text("350")
    assert sensor.read() == {"package-0": pytest.approx(250e-6)}


def test_rapl_counter_that_wraps(tmp_path: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 900, range_uj=1000)
    sensor = Rapl(root=str(tmp_path))
    sensor.read()
    package.write_text("50")  # 100 up to the end of the range, and 50 from its start
    assert sensor.read() == {"package-0": pytest.approx(150e-6)}
    package.write_text("60")
    assert sensor.read() == {"package-0": pytest.approx(160e-6)}


def test_rapl_that_is_absent(tmp_path: Path) -> None:
    sensor = Rapl(root=str(tmp_path))
    assert "virtual machine" in str(sensor.why_not())
    assert sensor.read() == {}


def test_rapl_that_only_root_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 1)

    def refuse(path: Path) -> int:
        raise PermissionError(path)

    monkeypatch.setattr("edgeprune_target.sensors.rapl._number", refuse)
    assert "sudo chmod" in str(Rapl(root=str(tmp_path)).why_not())
    assert Rapl(root=str(tmp_path)).read() == {}


def test_first_available(tmp_path: Path, five_watts: Path) -> None:
    sensor, reasons = first_available(["rapl", f"replay:{five_watts}", "none"], str(tmp_path))
    assert isinstance(sensor, ReplaySensor)
    assert len(reasons) == 1
    assert reasons[0].startswith("rapl: ")


def test_none_answers_when_no_other_does(tmp_path: Path) -> None:
    sensor, reasons = first_available(["rapl"], str(tmp_path))
    assert sensor.total_kind == "none"
    assert reasons


def test_joined_has_the_rails_of_both(tmp_path: Path, five_watts: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("t_s,GPU\n0,1\n1,1\n")
    sensor = make_sensor(f"replay:{five_watts}+replay:{other}")
    assert (sensor.name, sensor.why_not(), sensor.unit) == ("replay+replay", None, "watts")
    assert sensor.read() == {"VDD_IN": 5.0, "GPU": 1.0}


def test_joined_answers_only_when_all_do(tmp_path: Path, five_watts: Path) -> None:
    reason = make_sensor(f"replay:{five_watts}+rapl", str(tmp_path)).why_not()
    assert str(reason).startswith("rapl: no packages")


def test_joined_does_not_add_joules_to_watts(tmp_path: Path, five_watts: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 1)
    reason = make_sensor(f"replay:{five_watts}+rapl", str(tmp_path)).why_not()
    assert reason == "its parts count different units (joules and watts)"


def test_plus_in_a_file_name_is_no_second_sensor(tmp_path: Path) -> None:
    path = tmp_path / "a+b.csv"
    path.write_text("t_s,A\n0,2\n1,2\n")
    assert make_sensor(f"replay:{path}").read() == {"A": 2.0}


def test_probe_all_tries_every_sensor(tmp_path: Path, five_watts: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 7)
    absent, rapl, replay = probe_all(["ina3221", "rapl", f"replay:{five_watts}"], str(tmp_path))
    assert (absent["answers"], absent["rails"]) == (False, {})
    assert "no INA3221" in absent["reason"]
    assert rapl["rails"] == {"package-0": None}  # a counter's value means nothing by itself
    assert (replay["answers"], replay["reason"], replay["rails"]) == (True, None, {"VDD_IN": 5.0})
