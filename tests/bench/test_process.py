import os
import signal
import subprocess
import sys
import time

import pytest

from edgeprune.bench.process import ask
from edgeprune.errors import BenchError


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_result_and_events() -> None:
    events: list[dict] = []
    code = (
        """print('{"event": "progress", "done": 1}'); print('noise'); print('[1]')\n"""
        """print('{"event": "result", "result": {"a": 5}}')"""
    )
    assert ask(python(code), on_event=events.append) == {"a": 5}
    assert events == [{"event": "progress", "done": 1}]


def test_error_event_is_the_message() -> None:
    with pytest.raises(BenchError, match="^no such model$"):
        ask(python("""print('{"event": "error", "message": "no such model"}'); raise SystemExit(1)"""))


def test_crash_gives_the_last_line() -> None:
    with pytest.raises(BenchError, match="^the runner stopped with exit code 1: ValueError: out of luck$"):
        ask(python("raise ValueError('out of luck')"))


def test_result_followed_by_a_crash_is_not_believed() -> None:
    with pytest.raises(BenchError, match="exit code 3"):
        ask(python("""print('{"event": "result", "result": 1}'); raise SystemExit(3)"""))


def test_silence_is_an_error() -> None:
    with pytest.raises(BenchError, match="exit code 0: it printed nothing"):
        ask(python(""))


@pytest.mark.parametrize(("name", "message"), [("SIGKILL", "memory ran out"), ("SIGSEGV", "died of SIGSEGV")])
def test_killed_child(name: str, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        ask(python(f"import os, signal; os.kill(os.getpid(), signal.{name})"))


def test_cannot_be_started(tmp_path) -> None:
    with pytest.raises(BenchError, match="cannot start .*absent"):
        ask([str(tmp_path / "absent")])


def test_chatter_on_both_channels_does_not_block() -> None:
    noise = "import sys; sys.stderr.write('x' * 2**20); print('y' * 2**20);"
    code = noise + """print('{"event":"result","result":1}')"""
    assert ask(python(code)) == 1


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_error_of_ours_ends_the_child() -> None:
    seen: list[int] = []

    def fail(event: dict) -> None:
        seen.append(event["pid"])
        raise ZeroDivisionError

    code = """import os, time; print('{"event":"x","pid":%d}' % os.getpid(), flush=True); time.sleep(60)"""
    with pytest.raises(ZeroDivisionError):
        ask(python(code), on_event=fail)
    assert not alive(seen[0])


def test_ctrl_c_ends_the_child() -> None:
    child = """import os, time; print('{"event":"x","pid":%d}' % os.getpid(), flush=True); time.sleep(60)"""
    code = (
        "import sys; from edgeprune.bench.process import ask\n"
        f"ask([sys.executable, '-c', {child!r}], on_event=lambda e: print(e['pid'], flush=True))"
    )
    host = subprocess.Popen(
        python(code),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Tests that a shell runs in the background have Ctrl-C ignored, and hand that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert host.stdout is not None
    pid = int(host.stdout.readline())
    assert alive(pid)
    start = time.monotonic()
    host.send_signal(signal.SIGINT)
    host.communicate(timeout=50)
    assert time.monotonic() - start < 50
    assert host.returncode != 0
    assert not alive(pid)
