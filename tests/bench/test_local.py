import sys
from pathlib import Path

import pytest

from edgeprune.bench.local import LocalTransport, runner_environment, runner_folder
from edgeprune.errors import BenchError


def test_runs_the_runner_in_another_process() -> None:
    answer = LocalTransport().call("probe", [])
    assert answer["python"] == ".".join(map(str, sys.version_info[:3]))


def test_the_runner_reports_an_error() -> None:
    with pytest.raises(BenchError, match="^no such model file: absent.onnx$"):
        LocalTransport().call("measure", ["--model", "absent.onnx"])


def test_bad_usage_gives_the_last_line() -> None:
    with pytest.raises(BenchError, match="exit code 2: .*arguments are required: --model"):
        LocalTransport().call("measure", [])


def test_python_that_is_not_there() -> None:
    with pytest.raises(BenchError, match="cannot start no-such-python"):
        LocalTransport("no-such-python").call("probe", [])


def test_files_stay_where_they_are(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_text("x")
    transport = LocalTransport()
    transport.remove(transport.send(path))
    assert path.read_text() == "x"


def test_environment_keeps_the_users_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    parts = runner_environment()["PYTHONPATH"].split(":")
    assert parts == [str(runner_folder()), "/elsewhere"]
    assert (runner_folder() / "edgeprune_target" / "__main__.py").is_file()


def test_missing_runner_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeprune.bench.local.find_spec", lambda name: None)
    with pytest.raises(BenchError, match="install edgeprune again"):
        runner_folder()
