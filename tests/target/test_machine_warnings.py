"""Each warning from a stand-in board on which something happens between two states."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from boards.stand_in import (
    build,
    cooling_device,
    gpu,
    ina3221,
    lock_clocks,
    over_current,
    program,
    write,
    zones,
)
from edgeprune_target.machine_warnings import enqueue_bound, machine_warnings, streak
from edgeprune_target.state import state

NAME = "jetson-orin-nano"
NOTHING: dict[str, Any] = {"gpu_hz": [], "warmest_c": {}}
STEADY = [[1_000_000] * 50]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A board on which all is well."""
    build(NAME, tmp_path)
    lock_clocks(tmp_path, NAME)
    return tmp_path


def between(
    root: Path, happens: Callable[[], Any], watched: dict | None = None, uses_gpu: bool = True
) -> dict[str, str]:
    before = state(str(root))
    happens()
    result = machine_warnings(before, state(str(root)), {**NOTHING, **(watched or {})}, STEADY, uses_gpu)
    return {warning["code"]: warning["message"] for warning in result}


def nothing() -> None:
    """All stays well."""


@pytest.mark.parametrize(
    ("enqueue_ns", "gpu_ns", "bound"),
    [
        ([81, 1, 500], [100, 1, 9000], True),
        ([79] * 3, [100] * 3, False),
        ([81] * 3, [100] * 3, True),
        ([5], [0], False),
    ],
)
def test_enqueue_bound_from_four_fifths_on(enqueue_ns: list, gpu_ns: list, bound: bool) -> None:
    result = list(enqueue_bound(enqueue_ns, gpu_ns))
    assert [code for code, _ in result] == (["enqueue_bound"] if bound else [])


def test_a_quiet_board_has_none(root: Path) -> None:
    assert between(root, nothing) == {}


def test_clocks_that_move(tmp_path: Path) -> None:
    result = between(build(NAME, tmp_path), nothing)
    assert list(result) == ["clocks_not_locked"]
    assert "the GPU and the processor" in result["clocks_not_locked"]
    assert "sudo jetson_clocks " in result["clocks_not_locked"]
    assert "--restore" in result["clocks_not_locked"]
    assert not (tmp_path / "CHANGED").exists()


def test_only_the_gpu_moves(root: Path) -> None:
    gpu(root, "17000000.gpu")
    result = between(root, nothing)["clocks_not_locked"]
    assert "clocks of the GPU move" in result


def test_machine_that_is_no_jetson_is_not_told_of_jetson_clocks(tmp_path: Path) -> None:
    assert between(build("raspberry-pi-5", tmp_path), nothing) == {}


def test_power_mode_below_the_highest(root: Path) -> None:
    write(root, "etc/nvpmodel.conf", "< POWER_MODEL ID=1 NAME=25W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n")
    result = between(root, nothing)["power_mode"]
    assert "25W" in result
    assert "sudo nvpmodel -m 2" in result
    assert not (root / "CHANGED").exists()


@pytest.mark.parametrize(
    ("looks", "uses_gpu", "warned"),
    [
        ([900, 900, 900], True, True),
        ([900, 1020, 900, 900], True, False),
        ([1020, 900, 900, 900, 1020], True, True),
        ([900, 900], True, False),
        ([900, 900, 900], False, False),  # nobody asked the GPU for anything
    ],
)
def test_gpu_below_its_highest_clock(root: Path, looks: list[int], uses_gpu: bool, warned: bool) -> None:
    result = between(root, nothing, {"gpu_hz": [mhz * 1_000_000 for mhz in looks]}, uses_gpu)
    assert ("gpu_below_max" in result) == warned
    assert not warned or "900 of 1020 MHz" in result["gpu_below_max"]


def test_streak() -> None:
    assert [streak(flags) for flags in ([], [False], [True, False, True, True])] == [0, 0, 2]


@pytest.mark.parametrize(("spread", "warned"), [(0.02, False), (0.03, True)])
def test_times_that_vary(root: Path, spread: float, warned: bool) -> None:
    now = state(str(root))
    part = [1.0 - spread, 1.0 + spread] * 10  # their coefficient of variation is the spread
    codes = [
        warning["code"]
        for warning in machine_warnings(now, now, NOTHING, [part, [1.0] * 20, [1.0, 9.0]], uses_gpu=True)
    ]
    assert codes == (["unstable"] if warned else [])


def test_a_zone_that_reached_its_limit_in_between(root: Path) -> None:
    assert "zone cpu reached 96 C" in between(root, nothing, {"warmest_c": {"cpu": 96.0}})["hot"]
    assert "hot" not in between(root, nothing, {"warmest_c": {"cpu": 94.9}})


def test_a_board_that_gets_warmer(root: Path) -> None:
    assert "warming_up" not in between(root, lambda: zones(root, {"cpu-thermal": 50_000}))
    assert "zone cpu rose by 6 C" in between(root, lambda: zones(root, {"cpu-thermal": 56_000}))["warming_up"]


@pytest.mark.parametrize(
    ("kind", "step", "warned"),
    [("cpufreq-cpu0", 2, True), ("17000000.gpu", 1, True), ("cpufreq-cpu0", 0, False), ("pwm-fan", 3, False)],
)
def test_clocks_held_down(root: Path, kind: str, step: int, warned: bool) -> None:
    result = between(root, lambda: cooling_device(root, 0, kind, step))
    assert ("throttled" in result) == warned


def test_over_current_events_that_came(root: Path) -> None:
    assert "3 over-current events (oc3)" in between(root, lambda: over_current(root, 10))["over_current"]


def test_current_alarm(root: Path) -> None:
    folder = ina3221(root, "1-0042", 4, (("VDD_IN", 5000, 1),))
    assert (
        "VDD_IN crit" in between(root, lambda: (folder / "curr1_crit_alarm").write_text("1"))["current_alarm"]
    )


def meminfo(root: Path, free_kb: int) -> None:
    write(root, "proc/meminfo", f"SwapTotal: 100000 kB\nSwapFree: {free_kb} kB\n")


def test_swap(root: Path) -> None:
    meminfo(root, 100_000)
    assert "51 MB went to swap" in between(root, lambda: meminfo(root, 50_000))["swap"]
    assert "51 MB are in swap" in between(root, nothing)["swap"]
    (root / "sys/class/devfreq").rename(root / "away")
    assert between(root, nothing) == {}  # an old page of a PC's is no finding


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (0x50000, 0x50000, None),  # long ago
        (0x0, 0x50000, "under-voltage, throttling"),
        (0x50000, 0x50005, "under-voltage, throttling"),
        (0x0, 0x80008, "soft temperature limit"),
    ],
)
def test_pi(tmp_path: Path, before: int, after: int, words: str | None) -> None:
    def say(bits: int) -> None:
        program(tmp_path, "usr/bin/vcgencmd", f"#!/bin/sh\necho throttled=0x{bits:x}\n")

    say(before)
    result = between(tmp_path, lambda: say(after))
    assert result == ({} if words is None else {"throttled": f"the Pi slowed down while measuring: {words}"})


def test_graphics_card_that_is_held_back(root: Path) -> None:
    now = state(str(root))
    after = {**now, "nvidia": [{"name": "Card", "slowed_by": ["power cap"]}]}
    result = machine_warnings(now, after, NOTHING, STEADY, uses_gpu=True)
    assert result == [{"code": "gpu_throttled", "message": "Card is held back by: power cap"}]
