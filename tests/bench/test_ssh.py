"""ssh's command line, its complaints; and, over a real sshd, the whole way of a measurement."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from boards.loopback import Loopback, children
from boards.stand_in import build
from click.testing import CliRunner

from edgeprune.bench import Host, bench_run
from edgeprune.bench.login import kept_login
from edgeprune.bench.ssh import SshTransport
from edgeprune.cli import main
from edgeprune.errors import BenchError, ConnectionLost

QUICK = {"seconds": 0.4, "threads": 1}


def host(board: Loopback, root: Path | None = None, **more: Any) -> Host:
    return Host("board", **{"python": str(board.python(root)), "folder": str(board.home), **more})


# --- the command line -------------------------------------------------------------------------------------


def test_words_of_the_user_come_first() -> None:
    board = SshTransport("me@board", ["Port=2222"], environment={"EDGEPRUNE_SSH": "-F 'my config' -i key"})
    words = board.shell("echo $HOME")
    assert words[:6] == ["ssh", "-F", "my config", "-i", "key", "-o"]
    assert words.index("Port=2222") < words.index("ConnectTimeout=10")
    assert "BatchMode=yes" in words
    assert words[-3:] == ["--", "me@board", "sh -c 'echo $HOME'"]
    copied = board.copy(Path("/a/m.onnx"), "/there/m.onnx")
    assert copied[0] == "scp"
    assert copied[-2:] == ["/a/m.onnx", "me@board:/there/m.onnx"]
    assert words[1:-4] == copied[2:-3]  # scp is told all that ssh is


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"host": "-oProxyCommand=touch x"}, "--host is '-oProxyCommand=touch x'"),
        ({"host": "two words"}, "--host is 'two words'"),
        ({"host": ""}, "--host is ''"),
        ({"host": "b", "options": ["-v"]}, "--ssh-option is '-v': write it as in --ssh-option Port=2222"),
        ({"host": "b", "folder": "a b"}, "--host-folder is 'a b'"),
        ({"host": "b", "folder": "$(x)"}, "--host-folder is"),
    ],
)
def test_what_ssh_would_misunderstand(arguments: dict, message: str) -> None:
    with pytest.raises(BenchError) as caught:
        SshTransport(**arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ("me@board: Permission denied (publickey,password).", "ssh-copy-id me@board"),
        ("Host key verification failed.", "look at it once: ssh me@board"),
        ("ssh: Could not resolve hostname board: Name or service not known", "no such host"),
        ("ssh: connect to host board port 22: Connection refused", "no ssh server answers"),
        ("ssh: connect to host board port 22: Connection timed out", "is the board up"),
        ("ssh: connect to host board port 22: No route to host", "is the board on this network"),
        ("client_loop: send disconnect: Broken pipe", "broke (client_loop: send disconnect: Broken pipe)"),
        ("", "broke (it printed nothing); what was measured so far is kept"),
    ],
)
def test_complaints_of_ssh_are_one_line_with_advice(message: str, advice: str) -> None:
    line = SshTransport("me@board").why_lost(["a banner", message] if message else [])
    assert advice in line
    assert "me@board" in line
    assert "\n" not in line


# --- a real one -------------------------------------------------------------------------------------------


def test_the_whole_way(loopback: Loopback, run_of_digits: Path) -> None:
    python = f"env EDGEPRUNE_TEST='a b' {loopback.python()}"  # of several words
    result = bench_run(run_of_digits, device="cpu", host=host(loopback, python=python), **QUICK)
    assert result["device"]["host"] == "board"
    assert result["complete"] is True
    assert result["models"]["pruned"]["versions"]["onnxruntime"]
    assert all(len(samples) >= 3 for samples in result["models"]["pruned"]["samples_ns"])
    assert result["models"]["baseline"]["accuracy_images"] == 360
    written = run_of_digits / "bench"
    assert [path.name for path in written.iterdir()] == ["cpu.json"]
    assert json.loads((written / "cpu.json").read_text()) == result.to_dict()
    left = sorted(path.name.split("-", 1)[1] for path in loopback.home.iterdir())
    assert left == ["baseline.onnx", "cpu.profile", "edgeprune_target.pyz", "pruned.onnx"]


def test_what_is_there_already_is_not_sent_again(loopback: Loopback, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"model")
    first = SshTransport("board", python=str(loopback.python()), folder=str(loopback.home))
    first.connect()
    remote = Path(first.send(path))
    os.utime(remote, (1, 1))
    second = SshTransport("board", python=str(loopback.python()), folder=str(loopback.home))
    second.connect()
    assert second.send(path) == str(remote)
    assert remote.stat().st_mtime == 1
    remote.write_bytes(b"mod")  # cut short: another size
    third = SshTransport("board", python=str(loopback.python()), folder=str(loopback.home))
    third.connect()
    third.send(path)
    assert remote.read_bytes() == b"model"
    third.remove(str(remote))
    assert not remote.exists()


def test_a_jetson_by_the_command_line_and_then_by_hand(
    loopback: Loopback, run_of_digits: Path, tmp_path: Path
) -> None:
    root = build("jetson-agx-orin", tmp_path / "board")
    arguments = ["--device", "jetson", "--host", "board", "--host-python", str(loopback.python(root))]
    arguments += ["--host-folder", str(loopback.home), "--seconds", "2", "--no-accuracy", "--json", "-"]
    done = CliRunner().invoke(main, ["bench", str(run_of_digits), *arguments])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["device"]["name"] == "jetson-agx-orin"
    for model in result["models"].values():
        inferences = sum(len(samples) for samples in model["samples_ns"])
        assert model["energy"]["total_kind"] == "rail_sum"
        watts = model["energy_mj_per_inference"] * inferences / 1000 / model["energy"]["window_s"]
        assert watts == pytest.approx(5)
    codes = [warning["code"] for warning in result["warnings"]]
    assert {"clocks_not_locked", "other_runtime", "short_energy"} <= set(codes)
    names = {path.name.split("-", 1)[1]: path for path in loopback.home.iterdir()}
    by_hand = subprocess.run(
        [
            *(loopback.python(root), names["edgeprune_target.pyz"], "measure", "--seconds", "0.3"),
            *("--model", names["pruned.onnx"], f"@{names['jetson-agx-orin.profile']}"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    energy = json.loads(by_hand.stdout.splitlines()[-1])["result"]["energy"]
    assert energy["total_kind"] == "rail_sum"
    assert energy["gross_j"] == pytest.approx(5 * energy["window_s"])


def test_what_it_is(loopback: Loopback, tmp_path: Path) -> None:
    root = build("jetson-xavier-nx", tmp_path / "board")
    arguments = ["devices", "--host", "board", "--host-python", str(loopback.python(root))]
    done = CliRunner().invoke(main, [*arguments, "--host-folder", str(loopback.home), "--detect"])
    assert done.exit_code == 0, done.output
    assert "device: jetson-xavier-nx" in done.stdout
    assert "power sensor ina3221: answers in watts" in done.stdout


# --- one login --------------------------------------------------------------------------------------------


def test_all_calls_share_one_login_which_ends_with_them(loopback: Loopback, tmp_path: Path) -> None:
    loopback.end_connections()
    assert eventually(lambda: not children(loopback.listener.pid))
    board = SshTransport("board", python=str(loopback.python()), folder=str(loopback.home))
    board.connect()
    assert board.run("echo $PPID", "looking") and len(children(loopback.listener.pid)) == 1
    del board
    assert eventually(lambda: not children(loopback.listener.pid))


def test_without_the_login_each_call_has_its_own(loopback: Loopback) -> None:
    board = SshTransport("board", python=str(loopback.python()), folder=str(loopback.home))
    board.connect()
    loopback.end_connections()
    assert eventually(lambda: not board.shared)
    assert board.run("echo here", "looking") == ["here"]


def test_who_shares_logins_already_keeps_their_own(loopback: Loopback, tmp_path: Path) -> None:
    config = ["-F", str(loopback.folder / "config")]
    assert kept_login([*config, "-o", f"ControlPath={tmp_path}/mine"], "board") is None
    login = kept_login(config, "board")
    assert login is not None and len(login.words) == 2
    login.end()
    assert login.words == []


# --- cut off ----------------------------------------------------------------------------------------------


def eventually(check: Callable[[], bool], patience_s: float = 30.0) -> bool:
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        if check():
            return True
        time.sleep(0.05)
    return check()


def test_cut_in_mid_run_and_resumed(
    loopback: Loopback, run_of_digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeprune.bench.options.MIN_ROUNDS", 4)
    loopback.cut_at(6)  # in the third pair
    with pytest.raises(ConnectionLost, match="the connection to board broke .*--resume") as caught:
        bench_run(run_of_digits, device="cpu", host=host(loopback), **QUICK)
    assert "\n" not in str(caught.value)
    bench = run_of_digits / "bench"
    assert sorted(path.name for path in bench.iterdir()) == ["cpu.json.partial", "cpu.rounds.jsonl"]
    so_far = json.loads((bench / "cpu.json.partial").read_text())
    assert so_far["complete"] is False
    before = so_far["models"]["pruned"]["samples_ns"]
    assert len(before) == 2

    with pytest.raises(BenchError, match="--seconds was 0.4, and is 9"):
        bench_run(run_of_digits, device="cpu", host=host(loopback), resume=True, seconds=9, threads=1)
    with pytest.raises(BenchError, match="--host was board, and is None"):
        bench_run(run_of_digits, device="cpu", resume=True, **QUICK)
    assert (bench / "cpu.rounds.jsonl").is_file()

    loopback.cut_at(1000)
    result = bench_run(run_of_digits, device="cpu", host=host(loopback), resume=True, **QUICK)
    assert loopback.measured() == 2 * (4 - 2)
    assert [list(times) for times in result["models"]["pruned"]["samples_ns"][:2]] == before
    assert [len(model["samples_ns"]) for model in result["models"].values()] == [4, 4]
    assert result["speedup"]["pairs"] == 4
    assert result["settings"]["stretches"] == 2
    assert "resumed" in [warning["code"] for warning in result["warnings"]]
    assert [path.name for path in bench.iterdir()] == ["cpu.json"]


def test_cut_while_accuracy_is_measured(loopback: Loopback, run_of_digits: Path) -> None:
    """All rounds are there: only the accuracy is measured again."""

    def cut_at_accuracy(done: float, total: float, text: str) -> None:
        if "test images" in text:
            raise ConnectionLost("pulled the plug")

    with pytest.raises(ConnectionLost):
        bench_run(run_of_digits, device="cpu", host=host(loopback), progress=cut_at_accuracy, **QUICK)
    loopback.cut_at(1000)
    result = bench_run(run_of_digits, device="cpu", host=host(loopback), resume=True, **QUICK)
    assert loopback.measured() == 0
    assert result["models"]["pruned"]["accuracy_images"] == 360
    assert len(result["models"]["pruned"]["samples_ns"]) == 2


def test_a_board_that_falls_silent(
    loopback: Loopback, run_of_digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No word comes, not even that the connection is over."""
    impatient = "-o ServerAliveInterval=1 -o ServerAliveCountMax=1"
    monkeypatch.setenv("EDGEPRUNE_SSH", f"{os.environ['EDGEPRUNE_SSH']} {impatient}")
    loopback.cut_at(3, signal.SIGSTOP)
    with pytest.raises(ConnectionLost, match="broke .*not responding"):
        bench_run(run_of_digits, device="cpu", host=host(loopback), **QUICK)
    loopback.end_connections()
    assert eventually(lambda: not loopback.runners())


def test_cut_while_a_file_is_sent(loopback: Loopback, tmp_path: Path) -> None:
    board = SshTransport("board", python=str(loopback.python()), folder=str(loopback.home))
    board.connect()
    big = tmp_path / "big.onnx"
    with big.open("wb") as handle:
        handle.truncate(300_000_000)

    def pull_the_plug() -> None:
        eventually(lambda: any(part.stat().st_size for part in loopback.home.glob("*.part")))
        loopback.end_connections()

    thread = threading.Thread(target=pull_the_plug)
    thread.start()
    with pytest.raises(ConnectionLost, match="the connection to board broke"):
        board.send(big)
    thread.join()
    assert not [path for path in loopback.home.iterdir() if "big" in path.name]


def test_no_runner_is_left_behind(loopback: Loopback, run_of_digits: Path) -> None:
    loopback.cut_at(1)
    with pytest.raises(ConnectionLost):
        bench_run(run_of_digits, device="cpu", host=host(loopback), seconds=600, threads=1)
    assert eventually(lambda: not loopback.runners())


# --- boards that are not ready ----------------------------------------------------------------------------


def test_no_such_python(loopback: Loopback, run_of_digits: Path) -> None:
    with pytest.raises(BenchError, match="^board has no python9: give another --host-python"):
        bench_run(run_of_digits, host=host(loopback, python="python9"))


def test_python_without_onnxruntime(loopback: Loopback, run_of_digits: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare-python"
    bare.write_text(f'#!/bin/sh\nexec {shutil.which("python3")} -S -I "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(BenchError, match="has no onnxruntime: install one there"):
        bench_run(run_of_digits, device="cpu", host=host(loopback, python=str(bare)))


def test_killed_for_memory(loopback: Loopback, run_of_digits: Path) -> None:
    path = loopback.folder / "killed-python"
    path.write_text(f'#!/bin/sh\n[ "$2" = measure ] && kill -9 $$\nexec {loopback.python()} "$@"\n')
    path.chmod(0o755)
    with pytest.raises(BenchError, match="killed from outside .*try a smaller batch"):
        bench_run(run_of_digits, device="cpu", host=host(loopback, python=str(path)), **QUICK)


def test_unknown_host_key(loopback: Loopback, monkeypatch: pytest.MonkeyPatch, run_of_digits: Path) -> None:
    monkeypatch.setenv("EDGEPRUNE_SSH", f"{os.environ['EDGEPRUNE_SSH']} -o UserKnownHostsFile=/dev/null")
    with pytest.raises(ConnectionLost, match="look at it once: ssh board"):
        bench_run(run_of_digits, host=host(loopback))


def test_login_refused(loopback: Loopback, run_of_digits: Path, tmp_path: Path) -> None:
    options = (f"IdentityFile={tmp_path / 'absent'}",)
    config = tmp_path / "config"
    text = (loopback.folder / "config").read_text()
    config.write_text("".join(line for line in text.splitlines(True) if "IdentityFile" not in line))
    transport = SshTransport("board", options, environment={"EDGEPRUNE_SSH": f"-F {config}"})
    with pytest.raises(ConnectionLost, match="ssh-copy-id board"):
        transport.connect()


def test_nobody_listens(loopback: Loopback) -> None:
    with pytest.raises(ConnectionLost, match="no ssh server answers"):
        SshTransport("board", ["Port=1"]).connect()


def test_nothing_to_resume(loopback: Loopback, run_of_digits: Path) -> None:
    with pytest.raises(BenchError, match="nothing to resume"):
        bench_run(run_of_digits, device="cpu", host=host(loopback), resume=True, **QUICK)


# --- a disk that fills ------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(loopback: Loopback) -> Iterator[Path]:
    """8 MB in memory, as the board's folder."""
    loopback.home.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(loopback.home)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {made.stderr.strip() or 'mount failed'}")
    yield loopback.home
    subprocess.run(["umount", "-l", str(loopback.home)], check=True)


def fill(folder: Path, leave_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    (folder / "filler").write_bytes(b"\0" * (free - leave_bytes))


def test_disk_without_room_for_the_models(loopback: Loopback, small_disk: Path, run_of_digits: Path) -> None:
    fill(small_disk, 1_600_000)
    with pytest.raises(BenchError, match=r"the disk of board is full: baseline.onnx needs 0.\d MB") as caught:
        bench_run(run_of_digits, device="cpu", host=host(loopback), **QUICK)
    assert "\n" not in str(caught.value)
    assert not list(small_disk.glob("*.part"))


def test_disk_that_fills_while_a_file_is_sent(loopback: Loopback, small_disk: Path, tmp_path: Path) -> None:
    """What was free at the start has gone since."""
    board = SshTransport("board", python=str(loopback.python()), folder=str(loopback.home))
    board.connect()
    big = tmp_path / "big.onnx"
    big.write_bytes(os.urandom(4_000_000))
    fill(small_disk, 500_000)
    with pytest.raises(BenchError, match="the disk of board is full: big.onnx needs 4.0 MB"):
        board.send(big)
    assert sorted(path.suffix for path in small_disk.iterdir()) == ["", ".pyz"]


def test_disk_without_room_for_the_images(
    loopback: Loopback, small_disk: Path, run_of_digits: Path, tmp_path: Path
) -> None:
    """Everything but the accuracy is measured, and that says why not."""
    fill(small_disk, 3_500_000)  # models have 1.6 MB, images 4.4
    result = bench_run(run_of_digits, device="cpu", host=host(loopback), **QUICK)
    assert result["complete"] is True
    model = result["models"]["pruned"]
    assert model["latency_ms"]["p50"] > 0
    assert model["accuracy"] is None
    assert model["accuracy_reason"].startswith("the disk of board is full: images.npy needs 4.4 MB")


def test_disk_that_is_full_from_the_start(loopback: Loopback, small_disk: Path, run_of_digits: Path) -> None:
    fill(small_disk, 0)
    with pytest.raises(BenchError, match="disk of board is full: edgeprune_target.pyz"):
        bench_run(run_of_digits, device="cpu", host=host(loopback), **QUICK)
