from pathlib import Path

import pytest
from edgeprune_target import fingerprint as fp


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def cores(root: Path, places: dict[int, tuple[int, int]]) -> None:
    for cpu, (package, core) in places.items():
        folder = f"sys/devices/system/cpu/cpu{cpu}/topology"
        write(root, f"{folder}/physical_package_id", f"{package}\n")
        write(root, f"{folder}/core_id", f"{core}\n")


def test_hyper_threads_are_one_core(tmp_path: Path) -> None:
    cores(tmp_path, {0: (0, 0), 1: (0, 1), 2: (0, 0), 3: (0, 1), 4: (1, 0)})
    assert fp.physical_cores(tmp_path, [0, 1, 2, 3]) == 2
    assert fp.physical_cores(tmp_path, [0, 2]) == 1
    assert fp.physical_cores(tmp_path, [0, 1, 2, 3, 4]) == 3  # core 0 of another package


def test_without_topology_every_cpu_is_a_core(tmp_path: Path) -> None:
    assert fp.physical_cores(tmp_path, [0, 1, 5]) == 3


@pytest.mark.parametrize(
    ("text", "quota", "used"), [("max 100000", None, 4), ("250000 100000", 2.5, 2), ("50000 100000", 0.5, 1)]
)
def test_container_quota(tmp_path: Path, text: str, quota: float | None, used: int) -> None:
    write(tmp_path, "sys/fs/cgroup/cpu.max", text + "\n")
    assert fp.cpu_quota(tmp_path) == quota
    assert fp.physical_cores(tmp_path, [0, 1, 2, 3]) == used


@pytest.mark.parametrize(
    ("file", "text", "model"),
    [
        ("proc/cpuinfo", "processor : 0\nmodel name\t: Some CPU @ 2 GHz\n", "Some CPU @ 2 GHz"),
        ("proc/cpuinfo", "processor : 0\n\nModel\t\t: Raspberry Pi 5\n", "Raspberry Pi 5"),
        ("proc/device-tree/model", "NVIDIA Jetson Orin Nano\0", "NVIDIA Jetson Orin Nano"),
    ],
)
def test_cpu_model(tmp_path: Path, file: str, text: str, model: str) -> None:
    write(tmp_path, file, text)
    assert fp.cpu_model(tmp_path) == model


def test_governors_and_clocks(tmp_path: Path) -> None:
    for cpu, (governor, khz) in {0: ("powersave", 1000), 1: ("performance", 3000)}.items():
        folder = f"sys/devices/system/cpu/cpu{cpu}/cpufreq"
        write(tmp_path, f"{folder}/scaling_governor", governor + "\n")
        write(tmp_path, f"{folder}/scaling_cur_freq", f"{khz}\n")
    assert fp.governors(tmp_path) == ["performance", "powersave"]
    assert fp.clocks(tmp_path) == {"cur": [1000, 3000]}


def test_what_cannot_be_read_is_none(tmp_path: Path) -> None:
    assert fp.governors(tmp_path) is None
    assert fp.clocks(tmp_path) is None
    assert fp.memory_total_bytes(tmp_path) is None
    assert fp.busy_cores(tmp_path, 0.0) is None


def test_busy_cores_is_a_share_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tick(seconds: float) -> None:
        write(tmp_path, "proc/stat", "cpu 160 0 15 200 25 0 0 0 0 0\ncpu0 1 1 1 1\n")

    write(tmp_path, "proc/stat", "cpu 100 0 0 100 0 0 0 0 0 0\n")
    monkeypatch.setattr(fp.time, "sleep", tick)
    monkeypatch.setattr(fp.os, "cpu_count", lambda: 4)
    # 60 user and 15 system of 200 ticks were work, on four cores: 1.5 cores. Waiting for a disk is not work.
    assert fp.busy_cores(tmp_path) == pytest.approx(1.5)


def test_probe_of_this_machine() -> None:
    result = fp.probe(["rapl"])
    assert result["cores_physical"] >= 1
    assert result["runtimes"]["onnxruntime"]
    assert result["sensor"] in ("rapl", "none")
    assert (result["sensor"] == "none") == bool(result["sensor_reasons"])
