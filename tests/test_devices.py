from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from boards.stand_in import BOARDS
from edgeprune_target.board import SOCS
from edgeprune_target.runtimes import RUNTIMES
from edgeprune_target.sensors import make_sensor
from edgeprune_target.totals import parse_total

from edgeprune.bench.browser import PROVIDERS
from edgeprune.devices import (
    Device,
    Total,
    contradiction,
    detect,
    device_names,
    device_rows,
    load_device,
    parse_device,
    register,
    resolve,
    unregister,
)
from edgeprune.errors import BenchError

WANTED = {
    "android-phone",
    "browser",
    "cpu",
    "jetson-agx-orin",
    "jetson-agx-thor",
    "jetson-agx-xavier",
    "jetson-nano",
    "jetson-orin-nano",
    "jetson-orin-nx",
    "jetson-tx2",
    "jetson-xavier-nx",
    "raspberry-pi-5",
    "x86-nvidia",
}
NOTHING: dict[str, Any] = {
    "model": None,
    "compatible": [],
    "soc": None,
    "l4t": None,
    "android": False,
    "gpus": [],
}


def seen(**facts: Any) -> Mapping[str, Any]:
    return {**NOTHING, **facts}


def test_all_profiles_are_there() -> None:
    assert set(device_names()) == WANTED


@pytest.mark.parametrize("name", device_names())
def test_every_profile_names_what_the_runner_has(name: str) -> None:
    device = load_device(name)
    assert device.name == name
    assert device.title
    assert device.runtimes and set(device.runtimes) <= {*RUNTIMES, *PROVIDERS}
    assert (device.runtime, device.precision) == next(iter(device.runtimes.items()))
    for sensor in device.sensors:
        assert make_sensor(sensor).name == sensor
    for total in device.totals:
        assert parse_total(str(total)) == (total.kind, list(total.rails))
        assert set(total.rails) <= {*device.rails, "*"}
    assert set(device.runtimes.values()) <= set(device.alignment)
    assert all(multiple >= 1 for multiple in device.alignment.values())
    assert device.batch == 1


@pytest.mark.parametrize("name", [name for name in device_names() if name.startswith("jetson")])
def test_every_jetson_has_its_facts(name: str) -> None:
    device = load_device(name)
    assert device.is_jetson
    assert device.soc in SOCS
    assert device.compute
    assert device.jetpack
    assert device.memory_gb
    assert device.parts
    assert device.totals


def test_the_cpu_is_there() -> None:
    assert load_device("cpu").alignment == {"fp32": 16}
    assert load_device("cpu").totals == (Total("rail_sum", ("*",)),)


def test_unknown_device_lists_the_known() -> None:
    with pytest.raises(BenchError, match="unknown device 'cpuu'.*auto, browser, cpu, jetson,"):
        load_device("cpuu")


def test_rows_are_plain_values() -> None:
    rows = {row["name"]: row for row in device_rows()}
    assert set(rows) == WANTED
    assert rows["jetson-orin-nano"]["totals"] == ["measured_input=VDD_IN"]
    assert rows["jetson-orin-nano"]["memory_gb"] == [8, 4]
    assert rows["android-phone"]["sensors"] == []


def test_parse() -> None:
    profile = {
        "title": "A board",
        "runtimes": {"fake": "fp16", "onnxruntime": "fp32"},
        "board": {"soc": "x1", "memory_gb": [2]},
        "detect": {"models": ["Board"]},
        "power": {"sensors": ["rapl"], "totals": [{"kind": "rail_sum", "rails": ["A", "B"]}]},
    }
    assert parse_device("board", profile) == Device(
        "board",
        "A board",
        "fake",
        "fp16",
        {"fake": "fp16", "onnxruntime": "fp32"},
        sensors=("rapl",),
        totals=(Total("rail_sum", ("A", "B")),),
        soc="x1",
        memory_gb=(2,),
        models=("Board",),
    )
    assert profile["power"]["totals"] == [{"kind": "rail_sum", "rails": ["A", "B"]}]


GOOD = {"title": "x", "runtimes": {"fake": "fp32"}}


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ({"title": "x"}, "`runtimes` is missing"),
        ({"runtimes": {"fake": "fp32"}}, "title"),
        ({"title": "x", "runtimes": {}}, ""),
        ({**GOOD, "bach": 1}, "bach"),
        ({**GOOD, "power": {"sensor": ["rapl"]}}, "sensor"),
        ({**GOOD, "power": {"totals": [{"kind": "sum", "rails": ["A"]}]}}, "a total needs a kind"),
        ({**GOOD, "power": {"totals": [{"kind": "rail_sum", "rails": []}]}}, "a total needs a kind"),
        ({**GOOD, "power": {"totals": [{"rails": ["A"]}]}}, "kind"),
    ],
)
def test_profile_that_is_not_right(profile: dict, message: str) -> None:
    with pytest.raises(BenchError, match=f"profile board.toml is not right: .*{message}"):
        parse_device("board", profile)


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_detect_by_the_device_tree(name: str) -> None:
    board = BOARDS[name]
    soc = board.compatible[-1].split(",")[1] if board.driver else None
    original = seen(model=board.model, compatible=list(board.compatible), soc=soc, l4t=board.l4t)
    for facts in (original, {**original, "compatible": []}, {**original, "compatible": [], "soc": None}):
        device = detect(facts)
        assert device is not None
        assert device.name == name


# Modules on carriers of other makers, whose names say little: the part number counts.
@pytest.mark.parametrize(
    ("compatible", "name"),
    [
        ("nvidia,p3767-0000", "jetson-orin-nx"),
        ("nvidia,p3768-0000+p3767-0001", "jetson-orin-nx"),
        ("nvidia,p3768-0000+p3767-0003", "jetson-orin-nano"),
        ("nvidia,p3767-0004", "jetson-orin-nano"),
        ("nvidia,p3740-0002+p3701-0008", "jetson-agx-orin"),
        ("nvidia,p3509-0000+p3636-0001", "jetson-tx2"),
        ("nvidia,p3509-0000+p3668-0001", "jetson-xavier-nx"),
        ("nvidia,p3448-0000-b00", "jetson-nano"),
        ("nvidia,p3971-0089+p3834-0008", "jetson-agx-thor"),
    ],
)
def test_detect_by_the_part_number(compatible: str, name: str) -> None:
    device = detect(seen(model="A Carrier", compatible=[compatible, "nvidia,tegraXXX"]))
    assert device is not None
    assert device.name == name


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ({}, "cpu"),
        ({"gpus": [{"name": "Card"}]}, "x86-nvidia"),
        ({"android": True}, "android-phone"),
        ({"model": "Raspberry Pi 4 Model B Rev 1.4"}, None),
        ({"model": "Odd board", "compatible": ["nvidia,tegra234"], "soc": "tegra234"}, None),
        ({"model": "Jetson Nano", "soc": "tegra234"}, None),  # a name on the wrong chip
        ({"l4t": "36.4.3", "gpus": [{"name": "Orin"}]}, None),  # a container: a Jetson, but which?
    ],
)
def test_detect_of_others(facts: dict, name: str | None) -> None:
    device = detect(seen(**facts))
    assert (device.name if device else None) == name


NANO = {"model": "NVIDIA Jetson Nano Developer Kit", "soc": "tegra210"}


@pytest.mark.parametrize(
    ("requested", "facts", "name"),
    [
        ("jetson", NANO, "jetson-nano"),
        ("auto", NANO, "jetson-nano"),
        ("auto", {}, "cpu"),
        ("cpu", NANO, "cpu"),  # a Jetson has a processor, too
        ("jetson-agx-orin", {"l4t": "36.4.3"}, "jetson-agx-orin"),  # a container on some Jetson
        ("jetson-orin-nx", {"model": "Odd", "soc": "tegra234"}, "jetson-orin-nx"),  # an odd carrier board
        ("android-phone", {"android": True}, "android-phone"),
        ("x86-nvidia", {"gpus": [{"name": "Card"}]}, "x86-nvidia"),
    ],
)
def test_resolve(requested: str, facts: dict, name: str) -> None:
    assert resolve(requested, seen(**facts)).name == name


@pytest.mark.parametrize(
    ("requested", "facts", "message"),
    [
        ("jetson", {}, "not a Jetson but a machine without a device tree .*`device=cpu`"),
        (
            "jetson",
            {"model": "Raspberry Pi 5 Model B"},
            "not a Jetson but Raspberry Pi 5 .*`device=raspberry-pi-5`$",
        ),
        (
            "jetson",
            {"model": "Odd", "soc": "tegra234"},
            "no profile is for Odd: name the nearest of jetson-agx-orin",
        ),
        ("auto", {"model": "Odd"}, "no profile is for Odd: measure its processor with `device=cpu`"),
        ("jetson", {"model": "Odd"}, "no profile is for Odd"),
    ],
)
def test_resolve_that_fails(requested: str, facts: dict, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        resolve(requested, seen(**facts))


CONTRADICTED = [
    ("jetson-orin-nano", {}, "a machine without a device tree (This machine's CPU)"),
    ("jetson-orin-nano", {"model": "Odd", "soc": "tegra194"}, "Odd"),
    ("jetson-agx-orin", NANO, "NVIDIA Jetson Nano Developer Kit (NVIDIA Jetson Nano)"),
    ("raspberry-pi-5", {"model": "Raspberry Pi 4 Model B Rev 1.4"}, "Raspberry Pi 4 Model B Rev 1.4"),
    ("raspberry-pi-5", {"l4t": "36.4.3"}, "a machine without a device tree"),
    ("android-phone", {}, "a machine without a device tree"),
    ("x86-nvidia", {}, "a machine without a device tree"),
    ("x86-nvidia", {**NANO, "gpus": [{"name": "Orin"}]}, "NVIDIA Jetson Nano"),
    ("jetson-nano", {"android": True}, "Android phone"),
]


@pytest.mark.parametrize(("name", "facts", "machine"), CONTRADICTED)
def test_a_profile_that_the_machine_contradicts(name: str, facts: dict, machine: str) -> None:
    with pytest.raises(BenchError, match="is not what this is: .*`assume_device`"):
        resolve(name, seen(**facts))
    assumed = resolve(name, seen(**facts), assume=True)
    assert assumed.name == name
    assert assumed.assumed is not None
    assert machine.split(" (")[0] in assumed.assumed


def test_a_made_up_device_is_not_contradicted() -> None:
    assert contradiction(Device("x", "X", "fake"), seen()) is None


def test_runtime_by_what_is_there() -> None:
    device = load_device("jetson-orin-nano")
    assert device.running_on({"tensorrt": "10.3.0", "onnxruntime": "1.23"}).precision == "fp16"
    fallback = device.running_on({"tensorrt": None, "onnxruntime": "1.23"})
    assert (fallback.runtime, fallback.precision) == ("onnxruntime", "fp32")
    with pytest.raises(BenchError, match="has no tensorrt or onnxruntime"):
        device.running_on({})
    plain = Device("x", "X", "fake")
    assert plain.running_on({}) is plain


PROFILE = 'title = "My board"\nbatch = 1\n[runtimes]\nonnxruntime = "fp32"\n[alignment]\nfp32 = 8\n'


def test_a_profile_of_ones_own_is_asked_for_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(PROFILE)
    device = load_device(str(tmp_path / "mine.toml"))
    assert (device.name, device.title, device.alignment) == ("mine", "My board", {"fp32": 8})
    assert "mine" not in device_names()


def test_a_profile_of_ones_own_is_registered_once(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(PROFILE)
    device = register(tmp_path / "mine.toml")
    try:
        assert "mine" in device_names() and load_device("mine") is device
        with pytest.raises(BenchError, match="there is a device 'mine' already"):
            register(device)
    finally:
        unregister("mine")
    with pytest.raises(BenchError, match="unknown device 'mine'"):
        load_device("mine")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"title = ", "is not a profile in TOML"),
        (b"\xff\xfe", "is not a profile in TOML"),
        (b'title = "x"\nbatch = 1\n', "mine.toml is not right"),
        (PROFILE.encode() + b"[nonsense]\n", "mine.toml is not right"),
    ],
)
def test_a_profile_that_is_none_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "mine.toml").write_bytes(content)
    with pytest.raises(BenchError, match=words) as error:
        register(tmp_path / "mine.toml")
    assert "\n" not in str(error.value)


def test_a_profile_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", Path("/dev/zero")):
        with pytest.raises(BenchError, match=f"cannot read the profile {path}"):
            register(path)
