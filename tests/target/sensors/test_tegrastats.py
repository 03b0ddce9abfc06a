"""tegrastats as a child process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from boards.stand_in import BOARDS, line_of, program, tegrastats
from edgeprune_target.sensors.tegrastats import Tegrastats

from edgeprune.bench.local import runner_environment

THOR = line_of(BOARDS["jetson-agx-thor"])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeprune_target.sensors.tegrastats.INTERVAL_MS", 20)
    monkeypatch.setattr("edgeprune_target.sensors.tegrastats.TIMEOUT_S", 3.0)


def gone(pid: int, patience_s: float = 5.0) -> bool:
    """Whether the process ends soon; one that nobody waits for counts as ended."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        try:
            if ") Z" in Path(f"/proc/{pid}/stat").read_text():
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def test_lines_come_with_their_times(tmp_path: Path) -> None:
    tegrastats(tmp_path, [THOR])
    sensor = Tegrastats(root=str(tmp_path))
    assert sensor.why_not() is None
    time.sleep(0.2)
    readings = sensor.take()
    sensor.close()
    assert len(readings) >= 2
    assert {frozenset(rails.items()) for _, rails in readings} == {
        frozenset({("VDD_GPU", 0.0), ("VDD_CPU_SOC_MSS", 1.5), ("VIN_SYS_5V0", 1.0), ("VIN", 5.0)})
    }
    times = [at for at, _ in readings]
    assert times == sorted(times)


def test_asked_again_it_still_answers_with_the_same_child(tmp_path: Path) -> None:
    tegrastats(tmp_path, [THOR])
    sensor = Tegrastats(root=str(tmp_path))
    sensor.why_not()
    child = sensor.child
    sensor.take()
    assert sensor.why_not() is None
    assert sensor.child is child
    sensor.close()
    assert child is not None
    assert child.returncode is not None


def test_warnings_and_broken_lines_are_passed_over(tmp_path: Path) -> None:
    lines = ["NVPM WARN: Unknown command", THOR[:-30] + THOR, THOR]
    script = "\n".join(["#!/bin/sh", *(f"echo '{line}'" for line in lines), "exec sleep 60\n"])
    program(tmp_path, "usr/bin/tegrastats", script)
    sensor = Tegrastats(root=str(tmp_path))
    assert sensor.why_not() is None
    readings = sensor.take()
    sensor.close()
    assert [len(rails) for _, rails in readings] == [4]


def test_line_that_was_cut_at_the_end_of_the_program_is_no_reading(tmp_path: Path) -> None:
    program(tmp_path, "usr/bin/tegrastats", f"#!/bin/sh\nprintf '%s' '{THOR}'\n")
    assert "printed no line" in str(Tegrastats(root=str(tmp_path)).why_not())


def test_no_rails_for_this_user(tmp_path: Path) -> None:
    tegrastats(tmp_path, ["RAM 2448/62840MB (lfb 2x4MB) CPU [0%@2201] cpu@42C"])
    sensor = Tegrastats(root=str(tmp_path))
    assert "only for root" in str(sensor.why_not())
    assert sensor.child is None


def test_program_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeprune_target.sensors.tegrastats.TIMEOUT_S", 0.1)
    program(tmp_path, "usr/bin/tegrastats", "#!/bin/sh\nexec sleep 60\n")
    assert "no line of statistics in 0.1 s" in str(Tegrastats(root=str(tmp_path)).why_not())


def test_program_that_is_not_there_or_does_not_start(tmp_path: Path) -> None:
    assert "no program tegrastats" in str(Tegrastats(root=str(tmp_path)).why_not())
    program(tmp_path, "usr/bin/tegrastats", "#!/no/such/shell\n")
    assert "does not start" in str(Tegrastats(root=str(tmp_path)).why_not())


def test_found_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tegrastats(tmp_path, [THOR])
    monkeypatch.setenv("PATH", f"{tmp_path / 'usr/bin'}{os.pathsep}{os.environ['PATH']}")
    sensor = Tegrastats(root=str(tmp_path / "elsewhere"))
    assert sensor.why_not() is None
    sensor.close()


def test_ended_by_somebody_else(tmp_path: Path) -> None:
    tegrastats(tmp_path, [THOR])
    sensor = Tegrastats(root=str(tmp_path))
    sensor.why_not()
    assert sensor.child is not None
    sensor.child.terminate()
    sensor.child.wait()
    assert "ended by itself" in str(sensor.why_not())


def test_it_never_stops_other_peoples(tmp_path: Path) -> None:
    tegrastats(tmp_path, [THOR])
    sensor = Tegrastats(root=str(tmp_path))
    sensor.why_not()
    sensor.close()
    assert not (tmp_path / "CHANGED").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_child_ends_when_the_runner_is_killed(tmp_path: Path) -> None:
    tegrastats(tmp_path, [THOR])
    code = (
        "import sys, time; from edgeprune_target.sensors.tegrastats import Tegrastats\n"
        "s = Tegrastats(root=sys.argv[1]); s.why_not(); print(s.child.pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, env=runner_environment(), stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    assert gone(child)


def test_reading_waits_for_nothing(clock: Any) -> None:
    assert Tegrastats(clock=clock).take() == []
    assert Tegrastats(clock=clock).read() == {}
