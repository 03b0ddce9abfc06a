import json
import subprocess
import sys
from pathlib import Path

import pytest
from edgeprune_target.memory import PeakMemory, status_bytes

from edgeprune.bench.local import runner_environment


def status(folder: Path, rss_kb: int, peak_kb: int) -> None:
    (folder / "status").write_text(f"Name:\tx\nVmHWM:\t {peak_kb} kB\nVmRSS:\t {rss_kb} kB\n")


def test_reads_kilobytes_as_bytes(tmp_path: Path) -> None:
    status(tmp_path, rss_kb=10, peak_kb=30)
    assert status_bytes(tmp_path, "VmHWM") == 30 * 1024
    assert status_bytes(tmp_path, "VmSwap") is None
    assert status_bytes(tmp_path / "absent", "VmHWM") is None


def test_peak_above_the_start(tmp_path: Path) -> None:
    status(tmp_path, rss_kb=100, peak_kb=100)
    memory = PeakMemory(tmp_path)
    status(tmp_path, rss_kb=130, peak_kb=140)
    memory.note_loaded()
    status(tmp_path, rss_kb=150, peak_kb=180)
    assert memory.report()["memory_peak_bytes"] == 80 * 1024
    assert memory.report()["memory_loaded_bytes"] == 30 * 1024
    assert memory.report()["memory_method"] == "VmHWM after reset"


@pytest.mark.parametrize(("peak_kb", "expected"), [(300, None), (340, 240 * 1024)])
def test_without_reset_an_earlier_peak_can_hide_the_model(
    tmp_path: Path, peak_kb: int, expected: int | None
) -> None:
    (tmp_path / "clear_refs").mkdir()  # cannot be written
    status(tmp_path, rss_kb=100, peak_kb=300)
    memory = PeakMemory(tmp_path)
    status(tmp_path, rss_kb=100, peak_kb=peak_kb)
    assert memory.report()["memory_peak_bytes"] == expected
    assert (memory.report()["memory_reason"] is None) == (expected is not None)


def test_no_growth_is_not_zero(tmp_path: Path) -> None:
    status(tmp_path, rss_kb=100, peak_kb=100)
    report = PeakMemory(tmp_path).report()
    assert report["memory_peak_bytes"] is None
    assert "too small" in report["memory_reason"] and report["memory_loaded_bytes"] is None


def test_not_linux(tmp_path: Path) -> None:
    assert "only Linux" in PeakMemory(tmp_path / "absent").report()["memory_reason"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_parent_and_an_earlier_peak_do_not_count() -> None:
    code = (
        "import json; from edgeprune_target.memory import PeakMemory\n"
        "early = bytearray(90 << 20); del early\n"
        "memory = PeakMemory(); late = bytearray(40 << 20); del late\n"
        "print(json.dumps(memory.report()))"
    )
    ballast = bytearray(150 << 20)
    out = subprocess.run(
        [sys.executable, "-c", code], env=runner_environment(), capture_output=True, check=True, text=True
    )
    report = json.loads(out.stdout)
    assert len(ballast) == 150 << 20
    if report["memory_method"] != "VmHWM after reset":
        pytest.skip("this system does not let a process reset its peak")
    assert 39 << 20 <= report["memory_peak_bytes"] <= 45 << 20
