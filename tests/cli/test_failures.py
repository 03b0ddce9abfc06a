"""What a person reads when a command fails: one line, or the traceback of a bug."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner, Result

from edgeprune.cli import main
from edgeprune.cli.base import _Group, echo
from edgeprune.cli.failures import as_one_line
from edgeprune.errors import TrainError


def fails_with(error: BaseException) -> Result:
    """A command that raises ``error``."""

    @click.group(cls=_Group)
    def group() -> None:
        pass

    @group.command("go")
    def go() -> None:
        raise error

    return CliRunner().invoke(group, ["go"])


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (TrainError("two\nlines \x1b[31mred"), "two lines \\x1b[31mred"),
        (MemoryError(), "the machine's memory does not suffice"),
        (
            RuntimeError("operator torchvision::nms does not exist"),
            "torchvision is of another build than torch",
        ),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "memory does not suffice"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "memory does not suffice"),
        (RecursionError("maximum recursion depth exceeded"), "nested too deeply"),
        (UnicodeEncodeError("utf-8", "\udce9", 0, 1, "surrogates not allowed"), "is not UTF-8"),
        (UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid start byte"), "is not UTF-8"),
        (PermissionError(errno.EACCES, "Permission denied", "/a/place"), "/a/place: Permission denied"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "a\nb"), "a b: File name too long"),
        (OSError("no number"), "no number"),
    ],
    ids=lambda case: type(case).__name__,
)
def test_one_line(error: Exception, line: str) -> None:
    result = fails_with(error)
    assert result.exit_code == 1 and result.stdout == ""
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert line in result.stderr and "\x1b" not in result.stderr


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyError("a"), RuntimeError("a bug"), TypeError()])
def test_a_bug_keeps_its_traceback(error: Exception) -> None:
    assert as_one_line(error) is None
    assert fails_with(error).exception is error


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("`epochs` is too small", "--epochs is too small"),
        ("`init=random` and `latency=False`: no", "--init random and --no-latency: no"),
        ("leave `latency` out, or `latency=True`", "leave --latency out, or --latency"),
        ("choose another `target_device=cpu`", "choose another --device cpu"),
        ("`size` of `steps` in a file", "`size` of `steps` in a file"),
    ],
)
def test_fields_in_a_message_are_the_options_of_the_command(message: str, line: str) -> None:
    @click.group(cls=_Group)
    def group() -> None:
        pass

    @group.command("go")
    @click.option("--epochs")
    @click.option("--init")
    @click.option("--latency/--no-latency")
    @click.option("--device", "target_device")
    def go(**_: object) -> None:
        raise TrainError(message)

    assert CliRunner().invoke(group, ["go"]).stderr == f"error: {line}\n"


def test_ctrl_c_is_one_word() -> None:
    result = fails_with(KeyboardInterrupt())
    assert result.exit_code == 130 and result.stderr == "stopped\n"


def test_text_from_outside_is_written_out(capsys: pytest.CaptureFixture[str]) -> None:
    echo("a\x1b]0;title\x07\nb\u202e\x9b31m\u2028c")
    assert capsys.readouterr().out == "a\\x1b]0;title\\x07\nb\\u202e\\x9b31m\\u2028c\n"


@pytest.mark.parametrize("words", [["devices"], ["devices", "--json"], ["devices", "--help"], ["--help"]])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_standard_output_is_one_line(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edgeprune", *words], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr == "error: cannot write to the standard output: No space left on device\n"


def test_a_closed_pipe_ends_quietly() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "edgeprune", "devices", "--json"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    assert done.returncode == 1 and done.stderr == ""


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"COLUMNS": "many"},
        {"COLUMNS": "0"},
        {"COLUMNS": "-5"},
        {"COLUMNS": "9999999999"},
        {"TERM": "nonsense", "LINES": "x"},
    ],
    ids=str,
)
def test_a_terminal_that_knows_little(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgeprune", "devices"], env={**os.environ, **environment}, capture_output=True
    )
    assert done.returncode == 0 and b"Traceback" not in done.stderr and done.stdout


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("EDGEPRUNE_CHECKPOINT_SECONDS", "often", "EDGEPRUNE_CHECKPOINT_SECONDS is 'often': write seconds"),
        ("EDGEPRUNE_CHECKPOINT_SECONDS", "nan", "EDGEPRUNE_CHECKPOINT_SECONDS is 'nan': write seconds"),
        ("EDGEPRUNE_CHECKPOINT_SECONDS", "-1", "EDGEPRUNE_CHECKPOINT_SECONDS is '-1': write seconds"),
        ("EDGEPRUNE_CHECKPOINT_SECONDS", "", "EDGEPRUNE_CHECKPOINT_SECONDS is '': write seconds"),
        ("WORLD_SIZE", "two", "WORLD_SIZE is 'two', not a number of processes"),
        ("WORLD_SIZE", "", "WORLD_SIZE is '', not a number of processes"),
        ("WORLD_SIZE", "1e3", "WORLD_SIZE is '1e3', not a number of processes"),
    ],
)
def test_an_environment_variable_that_is_no_number(
    name: str, value: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeprune.processes.distributed import _launched

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, value)
    _launched.cache_clear()
    result = CliRunner().invoke(main, ["train-prune", "--epochs", "1"])
    _launched.cache_clear()
    assert result.exit_code == 1 and line in result.stderr and result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_open_quote_in_the_words_for_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRUNE_SSH", "-i 'my key")
    result = CliRunner().invoke(main, ["devices", "--host", "board"])
    assert result.exit_code == 1 and "EDGEPRUNE_SSH has a quote without its end" in result.stderr
