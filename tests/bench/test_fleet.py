"""Several boards at once: a result each, one table, and one that fails stops none of the others."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from boards.loopback import Loopback
from click.testing import CliRunner

from bench.conftest import FAKE, Scripted
from edgeprune.bench import Host, bench_fleet
from edgeprune.bench import run as bench_module
from edgeprune.bench.files import loose_files
from edgeprune.cli import main
from edgeprune.errors import BenchError
from edgeprune.records.bench import BenchResult, FleetTable

QUICK: dict[str, Any] = {"seconds": 0.2, "threads": 1, "accuracy": False}
BOARDS = (Host("pi@desk"), Host("pi@lab"), Host("adb:X"))


class Boards:
    """Made-up boards, one for each host; each takes twice as long as the one before it."""

    def __init__(self) -> None:
        """Let all of them meet at their first round: none can be through before all have begun."""
        self.transports = {
            host.name: Scripted({"baseline": 2_000_000 * 2**place, "pruned": 1_000_000 * 2**place})
            for place, host in enumerate(BOARDS)
        }
        self.meeting = threading.Barrier(len(BOARDS), timeout=20)
        self.out_of_reach: str | None = None

    def reached(self, _device: object, host: Host, *, assume: bool = False) -> tuple[Any, Any]:
        """Connect to one."""
        self.meeting.wait()
        if host.name == self.out_of_reach:
            raise BenchError("there is no such host; check the name")
        return self.transports[host.name], FAKE

    def rounds(self, name: str) -> int:
        """Rounds that were measured on one."""
        return sum(verb == "measure" for verb, _ in self.transports[name].asked)


@pytest.fixture
def boards(
    tmp_path: Path,
    fake_models: Callable[..., dict[str, Path]],
    monkeypatch: pytest.MonkeyPatch,
    few_rounds: None,
) -> Boards:
    """The boards, and a run folder to measure on them."""
    made = Boards()
    models = fake_models()
    monkeypatch.setattr(bench_module, "reached", made.reached)
    monkeypatch.setattr("edgeprune.bench.files.exported_files", lambda folder: loose_files(models))
    monkeypatch.setattr(bench_module, "measuring_with", lambda profile, *_how: profile)
    monkeypatch.setattr("edgeprune.bench.session.Session.chosen", lambda session, _fingerprint: session)
    (tmp_path / "run").mkdir()
    return made


def test_all_boards_at_once_each_with_a_file_of_its_own(boards: Boards, tmp_path: Path) -> None:
    texts: list[str] = []
    table = bench_fleet(
        tmp_path / "run",
        BOARDS,
        json_path=tmp_path / "t.json",
        progress=lambda *call: texts.append(call[2]),
        **QUICK,
    )
    assert [row.host for row in table.rows] == ["pi@desk", "pi@lab", "adb:X"] and table.failed == ()
    latencies = [[model.latency_ms.p50 for model in row.result.models.values()] for row in table.rows]
    assert latencies == [[2.0, 1.0], [4.0, 2.0], [8.0, 4.0]]
    files = sorted(path.name for path in (tmp_path / "run" / "bench").iterdir())
    assert files == ["fake.adb-X.json", "fake.pi@desk.json", "fake.pi@lab.json"]
    for row, name in zip(table.rows, ("fake.pi@desk", "fake.pi@lab", "fake.adb-X"), strict=True):
        result = BenchResult.read(tmp_path / "run" / "bench" / f"{name}.json")
        assert result == row.result and result.device.host == row.host
    assert FleetTable.read(tmp_path / "t.json") == table
    assert {text.partition(": ")[0] for text in texts} == {"pi@desk", "pi@lab", "adb:X"}


def test_one_that_fails_says_why_and_the_others_go_on(boards: Boards, tmp_path: Path) -> None:
    """It goes on with what it has; who is done is not measured again, unless files or settings have changed."""
    boards.transports["pi@lab"].fail_at = 4  # a probe, a pair of rounds, and then no more
    table = bench_fleet(tmp_path / "run", BOARDS, **QUICK)
    assert [row.host for row in table.rows] == ["pi@desk", "adb:X"]
    assert [board.host for board in table.failed] == ["pi@lab"] and "boom" in table.failed[0].why
    before = {host.name: boards.rounds(host.name) for host in BOARDS}
    boards.transports["pi@lab"].fail_at = None
    table = bench_fleet(tmp_path / "run", BOARDS, resume=True, **QUICK)
    assert len(table.rows) == 3
    more = {name: boards.rounds(name) - before[name] for name in before}
    assert more == {"pi@desk": 0, "pi@lab": 2, "adb:X": 0}
    bench_fleet(tmp_path / "run", BOARDS, resume=True, **{**QUICK, "seconds": 0.4})
    assert boards.rounds("pi@desk") == before["pi@desk"] + 4
    (tmp_path / "pruned.json").write_text('{"other": 1}')
    bench_fleet(tmp_path / "run", BOARDS, resume=True, **{**QUICK, "seconds": 0.4})
    assert boards.rounds("pi@desk") == before["pi@desk"] + 8


def test_ctrl_c_ends_all(boards: Boards, tmp_path: Path) -> None:
    """What one board's thread raises in place of the terminal's signal ends the others at their next round."""

    def interrupted(_done: float, _total: float, text: str) -> None:
        if text.startswith("pi@desk: baseline: round 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench_fleet(tmp_path / "run", BOARDS, progress=interrupted, **{**QUICK, "seconds": 20})
    assert not list((tmp_path / "run" / "bench").glob("*.json"))
    assert all(boards.rounds(host.name) < 40 for host in BOARDS)


def test_mistakes(boards: Boards, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="--host pi@desk is named twice"):
        bench_fleet(tmp_path / "run", (*BOARDS, Host("pi@desk")), **QUICK)
    with pytest.raises(BenchError, match="is a folder"):
        bench_fleet(tmp_path / "run", BOARDS, json_path=tmp_path, **QUICK)
    result = CliRunner().invoke(main, ["bench", "run", "--host-python", "python3"])
    assert result.exit_code == 2 and "need --host" in result.output


def test_over_ssh_the_table_shows_all_and_the_exit_status_says_that_one_failed(
    loopback: Loopback, run_of_digits: Path
) -> None:
    words = [
        "bench",
        str(run_of_digits),
        "--host",
        "board",
        "--host",
        "closed",
        "--device",
        "cpu",
        "--no-accuracy",
    ]
    words += [
        "--host-python",
        str(loopback.python()),
        "--host-folder",
        str(loopback.home),
        "--seconds",
        "0.4",
    ]
    done = CliRunner().invoke(main, words, env={"COLUMNS": "160"})
    assert done.exit_code == 1
    assert "closed failed: " in done.stderr and "no ssh server answers there" in done.stderr
    (row,) = [
        line for line in done.stdout.splitlines() if "board" in line and "cpu, onnxruntime fp32" in line
    ]
    assert "->" in row and " to " in row
    assert [path.name for path in (run_of_digits / "bench").iterdir()] == ["cpu.board.json"]


@pytest.mark.slow
def test_two_boards_over_ssh(loopback: Loopback, run_of_digits: Path) -> None:
    hosts = [Host(name, str(loopback.python()), str(loopback.home / name)) for name in ("board", "other")]
    table = bench_fleet(run_of_digits, hosts, device="cpu", **QUICK)
    assert [row.host for row in table.rows] == ["board", "other"] and table.failed == ()
    assert all(row.result.complete for row in table.rows)
