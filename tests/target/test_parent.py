"""The local runner ends with whoever started it, however that ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import edgeprune_target
import pytest
from edgeprune_target.parent import VARIABLE, end_with_parent

DEPLOY = str(Path(edgeprune_target.__file__).parent.parent)
# It ends on a signal even where the tests were started with that signal ignored, as nohup does.
PARENT = """
import os, signal, subprocess, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)
words = [sys.executable, "-m", "edgeprune_target", "measure", "--runtime", "fake", "--seconds", "60"]
child = subprocess.Popen([*words, "--model", sys.argv[1]], start_new_session=True,
                         env={**os.environ, "EDGEPRUNE_PARENT": str(os.getpid())})
print(child.pid, flush=True)
child.wait()
"""


def alive(process: int) -> bool:
    """Whether it runs; a zombie, which nobody has asked for its exit code, does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_the_runner_ends_with_its_parent(tmp_path: Path, number: int) -> None:
    model = tmp_path / "m.json"
    model.write_text(json.dumps({"latency_ns": 1000}))
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(model)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": DEPLOY},
    ) as parent:  # fmt: skip
        assert parent.stdout is not None
        runner = int(parent.stdout.readline())
        parent.send_signal(number)
    end = time.monotonic() + 20
    while alive(runner) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(runner)


@pytest.mark.parametrize("expected", ["", "x", "-1", None])
def test_without_a_parent_named_nothing_is_done(
    expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    end_with_parent(expected)


def test_a_parent_that_is_gone_already() -> None:
    """Between the start and the first line of the runner, it was killed."""
    code = "from edgeprune_target.parent import end_with_parent; end_with_parent(); print('still here')"
    environment = {**os.environ, "PYTHONPATH": DEPLOY, VARIABLE: "999999999"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
