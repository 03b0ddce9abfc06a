from pathlib import Path

import pytest
from boards.stand_in import program, write
from edgeprune_target import system
from edgeprune_target.system import find_program, output_of, read_number, text


def test_text_of_the_device_tree_ends_with_a_nul(tmp_path: Path) -> None:
    assert text(write(tmp_path, "model", "A Board\0")) == "A Board"
    assert text(tmp_path / "absent") == ""


@pytest.mark.parametrize(
    ("content", "value"), [("12\n", 12), ("-256000", -256000), ("", None), ("n/a", None)]
)
def test_number(tmp_path: Path, content: str, value: int | None) -> None:
    assert read_number(write(tmp_path, "x", content)) == value


def test_number_that_answers_an_error(tmp_path: Path) -> None:
    (tmp_path / "gated").mkdir()  # reading it is an OSError, as EAGAIN is
    assert read_number(tmp_path / "gated") is None


def test_program_below_the_root_comes_before_path(tmp_path: Path) -> None:
    program(tmp_path, "usr/sbin/sh", "#!/bin/sh\n")
    assert find_program("sh", str(tmp_path)) == str(tmp_path / "usr/sbin/sh")
    assert find_program("sh", str(tmp_path / "empty")) not in (None, str(tmp_path / "usr/sbin/sh"))
    assert find_program("no-such-program", str(tmp_path)) is None


@pytest.mark.parametrize(
    ("script", "message", "reason"),
    [
        ("echo fine $1", "fine x\n", None),
        ("echo no; echo more; exit 3", "", "tool x failed: no more"),
        ("sleep 9", "", "tool does not answer"),
    ],
)
def test_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str, reason: str | None
) -> None:
    monkeypatch.setattr(system, "TIMEOUT_S", 1.0)
    program(tmp_path, "usr/bin/tool", f"#!/bin/sh\n{script}\n")
    output = output_of("tool", "x", root=str(tmp_path))
    assert output[0] == message
    assert output[1] is None if reason is None else output[1].startswith(reason)


def test_no_program() -> None:
    assert output_of("no-such-program") == ("", "there is no program no-such-program on this machine")
