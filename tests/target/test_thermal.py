from pathlib import Path

from boards.stand_in import cooling_device, ina3221, write, zones
from boards.stand_in import over_current as write_events
from edgeprune_target.thermal import alarms, cooling, over_current, passive_trips_c, zone_temperatures_c


def test_gated_zones_and_pmic_are_left_out(tmp_path: Path) -> None:
    zones(
        tmp_path, {"cpu-thermal": 45_500, "cv0-thermal": -256_000, "PMIC-Die": 100_000, "GPU-therm": 40_000}
    )
    (tmp_path / "sys/class/thermal/thermal_zone9").mkdir()
    (tmp_path / "sys/class/thermal/thermal_zone9/temp").mkdir()  # reading it fails, as with EAGAIN
    assert zone_temperatures_c(tmp_path) == {"cpu": 45.5, "GPU-therm": 40.0}


def test_two_zones_of_one_name(tmp_path: Path) -> None:
    zones(tmp_path, {"cpu-thermal": 1000})
    write(tmp_path, "sys/class/thermal/thermal_zone1/type", "cpu-thermal\n")
    write(tmp_path, "sys/class/thermal/thermal_zone1/temp", 2000)
    assert zone_temperatures_c(tmp_path) == {"cpu": 1.0, "cpu thermal_zone1": 2.0}


def test_lowest_passive_trip(tmp_path: Path) -> None:
    zones(tmp_path, {"cpu-thermal": 1000}, passive=99_000)
    for point, degrees in ((2, 96_000), (3, -274_000)):  # one that is not set
        write(tmp_path, f"sys/class/thermal/thermal_zone0/trip_point_{point}_type", "passive\n")
        write(tmp_path, f"sys/class/thermal/thermal_zone0/trip_point_{point}_temp", degrees)
    assert passive_trips_c(tmp_path) == {"cpu": 96.0}


def test_cooling(tmp_path: Path) -> None:
    cooling_device(tmp_path, 0, "pwm-fan", 3)
    assert cooling(tmp_path) == [{"type": "pwm-fan", "cur": 3, "max": 10}]


def test_over_current_events(tmp_path: Path) -> None:
    write_events(tmp_path, 27_390)
    assert over_current(tmp_path) == {"oc3": 27_390}


def test_alarms_name_their_rail(tmp_path: Path) -> None:
    folder = ina3221(tmp_path, "1-0040", 1, (("VDD_IN", 5000, 1), ("VDD_SOC", 5000, 1)))
    assert alarms(tmp_path) == []
    (folder / "curr2_crit_alarm").write_text("1\n")
    assert alarms(tmp_path) == ["VDD_SOC crit"]


def test_machine_without_any(tmp_path: Path) -> None:
    assert (zone_temperatures_c(tmp_path), passive_trips_c(tmp_path), cooling(tmp_path)) == ({}, {}, [])
    assert (over_current(tmp_path), alarms(tmp_path)) == ({}, [])
