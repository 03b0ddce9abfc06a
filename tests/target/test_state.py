import json
import threading
import time
from pathlib import Path

import pytest
from boards.stand_in import BOARDS, JETSONS, build, gpu, write, zones
from edgeprune_target.state import Watch, pi_throttled, state, swap_used_bytes


@pytest.mark.parametrize("name", JETSONS)
def test_state_of_a_jetson(tmp_path: Path, name: str) -> None:
    root = build(name, tmp_path)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    report = state(str(root))
    assert report["gpu"]["name"] == BOARDS[name].gpu
    assert report["power_mode"]["name"] in BOARDS[name].mode
    assert report["temperatures_c"] == {"cpu": 45.0, "gpu": 44.0}
    assert report["over_current"] == {"oc3": 7}
    assert report["swap_used_bytes"] == 0
    json.dumps(report, allow_nan=False)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before  # read, not set


def test_state_of_this_machine() -> None:
    json.dumps(state(), allow_nan=False)


def test_machine_where_nothing_answers(tmp_path: Path) -> None:
    report = state(str(tmp_path))
    assert report["gpu"] is None
    assert report["cpu"] == {"online": None, "clocks": []}
    assert report["power_mode"]["name"] is None
    assert report["swap_used_bytes"] is None


def test_swap(tmp_path: Path) -> None:
    write(tmp_path, "proc/meminfo", "MemTotal: 9 kB\nSwapTotal:    1000 kB\nSwapFree:      400 kB\n")
    assert swap_used_bytes(tmp_path) == 600 * 1024


def test_pi(tmp_path: Path) -> None:
    assert pi_throttled(str(build("raspberry-pi-5", tmp_path))) == 0x50000


def test_watch_looks_while_it_is_open(tmp_path: Path) -> None:
    folder = gpu(tmp_path, "17000000.gpu")
    zones(tmp_path, {"cpu-thermal": 50_000})
    until = time.monotonic() + 10
    with Watch(str(tmp_path), period_s=0.01) as watch:
        while len(watch.gpu_hz) < 2 and time.monotonic() < until:
            time.sleep(0.005)
        (folder / "cur_freq").write_text("900000000")
        write(tmp_path, "sys/class/thermal/thermal_zone0/temp", 61_000)
        while watch.warmest_c != {"cpu": 61.0} and time.monotonic() < until:
            time.sleep(0.005)
        write(tmp_path, "sys/class/thermal/thermal_zone0/temp", 40_000)
    assert watch.report()["gpu_hz"][:2] == [306_000_000] * 2
    assert watch.report()["warmest_c"] == {"cpu": 61.0}


def test_watch_without_anything_to_look_at_starts_no_thread(tmp_path: Path) -> None:
    threads = threading.active_count()
    with Watch(str(tmp_path)) as watch:
        assert threading.active_count() == threads
    assert watch.report() == {"gpu_hz": [], "warmest_c": {}, "period_s": 1.0}
