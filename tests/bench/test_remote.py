import shlex
import subprocess
from pathlib import Path

import pytest

from edgeprune.bench.device_folder import first_word, free_bytes, look_for, quoted
from edgeprune.bench.remote import command, signal_of
from edgeprune.errors import BenchError


@pytest.mark.parametrize(
    ("line", "kilobytes"),
    [
        ("/dev/mmcblk0p1 29915904 21000000 7600000 74% /", 7_600_000),
        ("tmpfs 8192 8192 0 100% /mnt", 0),
        ("/dev/block/dm-5 110000000 1 109999999 1% /data", 109_999_999),
        ("overlay 10 10 -3 100% /", -3),
        ("", 0),
    ],
)
def test_free(line: str, kilobytes: int) -> None:
    assert free_bytes(line) == kilobytes * 1024


def in_a_shell(script: str, home: Path) -> str:
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, env={"HOME": str(home), "PATH": "/usr/bin:/bin"}
    )
    return done.stdout


@pytest.mark.parametrize("word", ["plain", "two words", "it's", "$(id)", "a;b", "a~b"])
def test_words_reach_the_program_as_they_are(word: str, tmp_path: Path) -> None:
    script = f"printf '%s|' {command(shlex.join([word, 'x y']))}"
    assert in_a_shell(script, tmp_path) == f"{word}|x y|"


def test_home_is_the_devices(tmp_path: Path) -> None:
    assert in_a_shell(f"echo {quoted('~/a b')}", tmp_path) == f"{tmp_path}/a b\n"
    assert in_a_shell(f"echo {command('~/venv/bin/python -X dev')}", tmp_path).startswith(str(tmp_path))


def test_looking_for_a_program(tmp_path: Path) -> None:
    assert in_a_shell(look_for("sh -x"), tmp_path) == "edgeprune python sh\n"
    assert in_a_shell(look_for("no-such-program"), tmp_path) == ""
    (tmp_path / "my python").write_text("#!/bin/sh\n")
    (tmp_path / "my python").chmod(0o755)
    assert in_a_shell(look_for("'~/my python' -u"), tmp_path) == "edgeprune python ~/my python\n"


@pytest.mark.parametrize("wish", ["", "   ", "'open"])
def test_no_command(wish: str) -> None:
    with pytest.raises(BenchError, match="--host-python is"):
        first_word(wish)


@pytest.mark.parametrize(("code", "signal"), [(0, 0), (1, 0), (127, 0), (137, 9), (139, 11), (255, 0)])
def test_signal_behind_an_exit_code(code: int, signal: int) -> None:
    assert signal_of(code) == signal
