"""Whole stand-in boards: the right rails, the right total, and 5 W for 10 s are 50 J."""

from pathlib import Path
from time import perf_counter_ns
from typing import Any

import pytest
from boards.stand_in import BOARDS, JETSONS, build, line_of, tegrastats
from edgeprune_target import measure as measuring
from edgeprune_target.measure import measure
from edgeprune_target.sensors import first_available, make_sensor
from edgeprune_target.window import Window, energy_report

from edgeprune.devices import Device, load_device

FASTER = 5


def totals_of(device: Device) -> list:
    return [(total.kind, list(total.rails)) for total in device.totals]


def ten_seconds(sensor: Any, totals: list, clock: Any) -> dict:
    """A reading each second, on a clock that only moves when told to."""
    window = Window(sensor, totals=totals, poll=False)
    with window:
        for _ in range(10):
            clock.forward(1)
            window.read_sensor()
    return energy_report(window, None, [])


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_fifty_joules(tmp_path: Path, clock: Any, name: str) -> None:
    device = load_device(name)
    sensor, _ = first_available(list(device.sensors), str(build(name, tmp_path)), clock)
    report = ten_seconds(sensor, totals_of(device), clock)
    assert report["gross_j"] == pytest.approx(50.0)
    assert report["total_kind"] == device.totals[0].kind
    if name != "raspberry-pi-5":  # its stand-in prints two of twelve outputs
        assert list(report["rails_j"]) == list(device.rails)
        assert report["total_rails"] == list(device.totals[0].rails)
    assert (report["samples"], report["failed_reads"], report["reason"]) == (12, 0, None)


def test_sensors_are_those_of_the_first_choice(tmp_path: Path) -> None:
    for name in BOARDS:
        sensor, _ = first_available(list(load_device(name).sensors), str(build(name, tmp_path / name)))
        expected = {"jetson-agx-thor": "ina3221+ina238", "raspberry-pi-5": "rpi5"}
        assert sensor.name == expected.get(name, BOARDS[name].driver)


def test_rails_beside_the_total_are_not_added(tmp_path: Path, clock: Any) -> None:
    device = load_device("jetson-agx-orin")
    root = str(build("jetson-agx-orin", tmp_path))
    report = ten_seconds(make_sensor("ina3221", root, clock), totals_of(device), clock)
    assert report["rails_j"]["VDDQ_VDD2_1V8AO"] == pytest.approx(9.0)
    assert "VDDQ_VDD2_1V8AO" not in report["total_rails"]


def test_thor_on_a_carrier_without_input_sensor_is_of_another_kind(tmp_path: Path, clock: Any) -> None:
    device = load_device("jetson-agx-thor")
    root = build("jetson-agx-thor", tmp_path)
    (root / "sys/class/hwmon/hwmon9").unlink()
    sensor, reasons = first_available(list(device.sensors), str(root), clock)
    report = ten_seconds(sensor, totals_of(device), clock)
    assert reasons[0].startswith("ina3221+ina238: ina238: no INA238")
    assert (report["total_kind"], report["gross_j"]) == ("rail_sum", pytest.approx(25.0))


@pytest.mark.parametrize("name", JETSONS)
def test_without_sysfs_tegrastats_says_the_same(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeprune_target.sensors.tegrastats.INTERVAL_MS", 20)
    root = build(name, tmp_path)
    device = load_device(name)
    by_files, _ = first_available(list(device.sensors), str(root))
    rails = by_files.read()
    (root / "sys/bus").rename(root / "away")
    (root / "sys/class/hwmon").rename(root / "away2")
    by_lines, reasons = first_available(list(device.sensors), str(root))
    assert by_lines.name == "tegrastats"
    assert len(reasons) == len(device.sensors) - 1
    record = by_lines.read()
    by_lines.close()
    assert record == pytest.approx({rail: rails[rail] for rail in record})
    assert all(rail in record for rail in device.totals[0].rails)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A clock that runs ahead, and short preparations."""
    monkeypatch.setattr(measuring, "WARM_UP_S", 0.01)
    monkeypatch.setattr(measuring, "IDLE_S", 0.2)
    return lambda: perf_counter_ns() * FASTER


def ran(name: str, root: Path, model: Path, clock: Any, sensors: list[str] | None = None) -> dict:
    device = load_device(name)
    return measure(
        str(model),
        runtime="fake",
        seconds=10,
        sensors=sensors or list(device.sensors),
        totals=totals_of(device),
        root=str(root),
        clock=clock,
    )


@pytest.mark.parametrize(
    ("name", "sensors"), [("jetson-agx-thor", None), ("jetson-agx-xavier", ["tegrastats"])]
)
def test_short_measure(
    tmp_path: Path, fake_file: Path, fast: Any, monkeypatch: pytest.MonkeyPatch, name: str, sensors: Any
) -> None:
    monkeypatch.setattr("edgeprune_target.sensors.tegrastats.INTERVAL_MS", 30)
    monkeypatch.setattr("edgeprune_target.window.UNCOVERED_SHARE", 0.5)  # the machine of tests may be busy
    root = build(name, tmp_path)
    result = ran(name, root, fake_file, fast, sensors)
    energy = result["energy"]
    assert energy["window_s"] == pytest.approx(10, rel=0.2)  # the last inference may end late
    assert energy["gross_j"] == pytest.approx(5 * energy["window_s"])
    assert energy["net_j"] == pytest.approx(0, abs=1e-9)
    assert energy["samples"] >= 5
    assert [warning["code"] for warning in result["warnings"]] == ["clocks_not_locked"]
    assert result["before"]["power_mode"]["name"] in BOARDS[name].mode
    assert result["after"]["gpu"]["max_hz"] == 1_020_000_000
    assert not (root / "CHANGED").exists()


def test_user_who_sees_no_rails(tmp_path: Path, fake_file: Path, fast: Any) -> None:
    root = build("jetson-orin-nano", tmp_path)
    (root / "sys/class/hwmon").rename(root / "away")
    (root / "sys/bus").rename(root / "away2")
    tegrastats(root, [line_of(BOARDS["jetson-orin-nano"], root=False).split(" VDD_IN")[0]])
    energy = ran("jetson-orin-nano", root, fake_file, fast)["energy"]
    assert (energy["gross_j"], energy["sensor"], energy["samples"]) == (None, "none", 0)
    assert energy["reason"].startswith("ina3221: no INA3221")
    assert "tegrastats: tegrastats prints no power rails here" in energy["reason"]
