import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from edgeprune_target import pauses as module
from edgeprune_target.measure import measure
from edgeprune_target.pauses import pauses, slept_since, suspended_clock_s

MS = 1_000_000


@pytest.mark.parametrize(
    ("samples_ns", "gaps_s", "suspended_s", "count", "seconds"),
    [
        ([MS] * 100, 0.0, 0.0, 0, 0.0),
        ([MS] * 100, 0.09, 0.04, 0, 0.0),  # the scheduler's, and two clocks read one after the other
        ([MS] * 99 + [90 * MS], 0.0, 0.0, 0, 0.0),
        ([MS] * 99 + [501 * MS], 0.0, 0.0, 1, 0.5),  # stopped while computing
        ([MS] * 100, 0.5, 0.0, 1, 0.5),  # stopped between two inferences
        ([MS] * 100, 0.0, 30.0, 1, 30.0),  # a closed lid
        ([301 * MS, MS, MS, MS, 201 * MS], 0.5, 1.0, 4, 2.0),
        ([5000 * MS] * 3, 0.0, 0.0, 0, 0.0),  # a slow model is not interrupted
        ([5000 * MS, 5000 * MS, 50_000 * MS], 0.0, 0.0, 0, 0.0),
        ([], 0.0, 0.0, 0, 0.0),
    ],
)
def test_pauses(samples_ns: list, gaps_s: float, suspended_s: float, count: int, seconds: float) -> None:
    interruptions = pauses(samples_ns, gaps_s, suspended_s)
    assert (interruptions["count"], interruptions["seconds"]) == (count, pytest.approx(seconds))
    assert interruptions["longest_s"] <= interruptions["seconds"]
    assert interruptions["suspended_s"] == (suspended_s if suspended_s > 0.05 else 0.0)


def test_the_clock_of_sleep_hardly_moves_while_awake() -> None:
    before = suspended_clock_s()
    assert before is None or slept_since(before) < 0.05
    assert slept_since(None) == 0.0


def test_a_machine_that_sleeps_in_the_window(fake_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept = iter([100.0, 160.0])
    monkeypatch.setattr(module, "suspended_clock_s", lambda: next(slept))
    monkeypatch.setattr("edgeprune_target.measure.suspended_clock_s", lambda: next(slept))
    result = measure(str(fake_file), runtime="fake", seconds=0.02)["pauses"]
    assert result["suspended_s"] == pytest.approx(60.0)


STOPS_ITSELF = """
import json, os, signal, time
from edgeprune_target import measure

class Engine:
    runs = 0
    def infer(self, feed):
        self.runs += 1
        if self.runs == 50:
            os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(0.001)
    def synchronize(self):
        pass

samples = measure.timed(Engine(), {}, 0.7)
print(json.dumps(measure.pauses(samples)))
"""


def test_a_runner_that_is_stopped_for_a_while() -> None:
    """SIGSTOP and SIGCONT, as Ctrl-Z and a debugger send them."""
    environment = {**os.environ, "PYTHONPATH": str(Path(module.__file__).parent.parent)}
    with subprocess.Popen(
        [sys.executable, "-c", STOPS_ITSELF], stdout=subprocess.PIPE, text=True, env=environment
    ) as child:
        os.waitpid(child.pid, os.WUNTRACED)
        time.sleep(0.4)
        child.send_signal(signal.SIGCONT)
        message, _ = child.communicate()
    assert json.loads(message)["seconds"] >= 0.3
