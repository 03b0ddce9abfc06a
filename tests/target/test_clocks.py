from pathlib import Path

import pytest
from boards.stand_in import cpus, gpu, write
from edgeprune_target.clocks import cpu_clocks, gpu_clock, locked, memory_hz

# devices.md 3.1, and what else is in that folder on such boards
NAMES = ["57000000.gpu", "17000000.gv11b", "17000000.gp10b", "17000000.ga10b", "17000000.gpu", "gpu-gpc-0"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("with_node", [True, False])
def test_gpu_by_any_of_its_names(tmp_path: Path, name: str, with_node: bool) -> None:
    write(tmp_path, "sys/class/devfreq/15340000.vic/cur_freq", 1)
    folder = gpu(tmp_path, name)
    if not with_node:
        (folder / "device/of_node/name").unlink()
    assert gpu_clock(tmp_path) == {
        "name": name,
        "governor": "nvhost_podgov",
        "min_hz": 306_000_000,
        "cur_hz": 306_000_000,
        "max_hz": 1_020_000_000,
        "load_percent": 12.3,
    }


def test_no_gpu(tmp_path: Path) -> None:
    write(tmp_path, "sys/class/devfreq/15340000.vic/cur_freq", 1)
    assert gpu_clock(tmp_path) is None


def test_cpus_in_their_order_and_only_those_with_a_clock(tmp_path: Path) -> None:
    cpus(tmp_path)
    write(tmp_path, "sys/devices/system/cpu/cpu10/cpufreq/scaling_min_freq", 5)
    write(tmp_path, "sys/devices/system/cpu/cpu2/online", 0)
    result = cpu_clocks(tmp_path)
    assert result["online"] == "0-1"
    assert [cpu["cpu"] for cpu in result["clocks"]] == [0, 1, 10]
    assert result["clocks"][0] == {
        "cpu": 0,
        "governor": "schedutil",
        "min_khz": 729_600,
        "cur_khz": 729_600,
        "max_khz": 1_510_400,
    }


def test_memory_clock_is_for_root(tmp_path: Path) -> None:
    assert memory_hz(tmp_path) is None
    write(tmp_path, "sys/kernel/debug/bpmp/debug/clk/emc/rate", 2_133_000_000)
    assert memory_hz(tmp_path) == 2_133_000_000


@pytest.mark.parametrize(
    ("low", "high", "held"), [(1, 1, True), (1, 2, False), (None, 2, None), (1, None, None)]
)
def test_locked(low: int | None, high: int | None, held: bool | None) -> None:
    assert locked({"min_hz": low, "max_hz": high}, "hz") is held
