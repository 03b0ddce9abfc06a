import pytest
from edgeprune_target.runtimes import RUNTIMES
from edgeprune_target.sensors import SENSORS

from edgeprune.devices import Device, device_names, load_device, parse_device
from edgeprune.errors import BenchError


@pytest.mark.parametrize("name", device_names())
def test_every_profile_names_what_the_runner_has(name: str) -> None:
    device = load_device(name)
    assert device.name == name
    assert device.title
    assert device.runtime in RUNTIMES
    assert set(device.sensors) <= set(SENSORS)
    assert device.total_kind in ("measured_input", "rail_sum", "none")
    assert device.precision in device.alignment
    assert all(multiple >= 1 for multiple in device.alignment.values())


def test_the_cpu_is_there() -> None:
    assert "cpu" in device_names()
    assert load_device("cpu").alignment == {"fp32": 16}


def test_unknown_device_lists_the_known() -> None:
    with pytest.raises(BenchError, match="unknown device 'cpuu'.*cpu"):
        load_device("cpuu")


def test_parse() -> None:
    profile = {
        "title": "A board",
        "runtime": "fake",
        "power": {"sensors": ["rapl"], "total_kind": "rail_sum"},
    }
    expected = Device("board", "A board", "fake", sensors=("rapl",), total_kind="rail_sum")
    assert parse_device("board", profile) == expected
    assert profile["power"] == {"sensors": ["rapl"], "total_kind": "rail_sum"}


@pytest.mark.parametrize("profile", [{"title": "x"}, {"title": "x", "runtime": "fake", "bach": 1}])
def test_profile_that_is_not_right(profile: dict) -> None:
    with pytest.raises(BenchError, match="profile board.toml is not right"):
        parse_device("board", profile)
