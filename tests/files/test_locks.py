"""One process at a time, whoever ends how; the second one says who is in its way."""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeprune.errors import InUseError, StorageError
from edgeprune.files import locks
from edgeprune.files.locks import FolderLock, check_unused, held, held_file, is_held, shared

HOLDER = """
import sys, time
from pathlib import Path
from edgeprune.files.locks import {verb}
with {verb}(Path(sys.argv[2])):
    print("holding", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def holding(folder: Path, verb: str = "held") -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds a folder."""
    command = [sys.executable, "-c", HOLDER.format(verb=verb), "train-prune", str(folder)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "holding\n"
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_second_process_says_who_holds_it(tmp_path: Path) -> None:
    with holding(tmp_path) as child:
        with pytest.raises(InUseError) as error, held(tmp_path):
            pass
        message = str(error.value)
        assert f"{tmp_path} is in use by process {child.pid} on " in message and "\n" not in message
        assert "train-prune" in message and "since 20" in message
        assert is_held(tmp_path)
        with pytest.raises(InUseError, match=f"process {child.pid}"):
            check_unused(tmp_path.parent)
        child.send_signal(signal.SIGKILL)  # the operating system frees it
        child.wait()
        assert not is_held(tmp_path)
        with held(tmp_path):
            record = json.loads((tmp_path / ".lock.json").read_text())
            assert record["pid"] == os.getpid() and record.keys() == {"pid", "host", "command", "since"}
    assert names(tmp_path) == []


def test_a_folder_is_clean_once_it_is_free(tmp_path: Path) -> None:
    for _ in range(2):
        with held(tmp_path):
            assert names(tmp_path) == [".lock", ".lock.json"]
        assert names(tmp_path) == []


def test_two_of_one_process_are_two(tmp_path: Path) -> None:
    with held(tmp_path), pytest.raises(InUseError, match=f"process {os.getpid()}"), held(tmp_path):
        pass


def test_options_with_passwords_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["/usr/bin/edgeprune", "search", "--storage", "mysql://me:secret@host/db"]
    monkeypatch.setattr(sys, "argv", words)
    with held(tmp_path):
        assert json.loads((tmp_path / ".lock.json").read_text())["command"] == "edgeprune search"


def test_waiting_says_for_whom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, events = FolderLock(tmp_path), []
    assert first.acquire()
    monkeypatch.setattr(locks.time, "sleep", lambda seconds: first.release())
    with held(tmp_path, wait=events.append):
        assert is_held(tmp_path)
    assert len(events) == 1 and events[0].startswith(f"waiting for process {os.getpid()} on ")


@pytest.mark.parametrize("content", ["", "{", "[1]", "{}", '{"pid": 1, "host": "\\u001b[31m"}'])
def test_a_damaged_record_does_not_matter(tmp_path: Path, content: str) -> None:
    with held(tmp_path):
        (tmp_path / ".lock.json").write_text(content)
        with pytest.raises(InUseError, match="is in use by another process"), held(tmp_path):
            pass


def test_a_record_is_shown_without_escapes(tmp_path: Path) -> None:
    with held(tmp_path):
        record = {"pid": 1, "host": "\x1b[31m", "command": "x" * 500, "since": "now\nlater"}
        (tmp_path / ".lock.json").write_text(json.dumps(record))
        with pytest.raises(InUseError) as error, held(tmp_path):
            pass
    assert str(error.value).isprintable() and len(str(error.value)) < 400


def test_half_written_files_are_swept_only_when_it_is_free(tmp_path: Path) -> None:
    parts = [tmp_path / ".a.1.part", tmp_path / "export/.b.2.part", tmp_path / "bench/.c.part"]
    for path in parts:
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    (tmp_path / ".export.part").mkdir()
    (tmp_path / ".export.part/x.onnx").write_text("half")
    first = FolderLock(tmp_path)
    assert first.acquire()
    with pytest.raises(InUseError), held(tmp_path):
        pass
    assert all(path.exists() for path in parts)
    first.release()
    with held(tmp_path, sweep=False):
        assert all(path.exists() for path in parts)
    with held(tmp_path):
        assert names(tmp_path) == [".lock", ".lock.json", "bench", "export"]
        assert not any(path.exists() for path in parts)


def test_a_folder_that_was_moved_keeps_its_lock(tmp_path: Path) -> None:
    """What is in the old place then is another's, and stays."""
    (tmp_path / "a").mkdir()
    with held(tmp_path / "a"):
        (tmp_path / "a").rename(tmp_path / "b")
        (tmp_path / "a").mkdir()
        (tmp_path / "a/.lock").write_text("another's")
    assert (tmp_path / "a/.lock").read_text() == "another's"
    assert not is_held(tmp_path / "b")


def test_workers_share_and_nobody_replaces_meanwhile(tmp_path: Path) -> None:
    with holding(tmp_path, "shared") as child, shared(tmp_path):
        with pytest.raises(InUseError, match="is in use by process"):
            check_unused(tmp_path)
        child.kill()
        child.wait()
    with shared(tmp_path):
        assert len(list(tmp_path.glob(".worker-*.lock"))) == 1  # the dead one's is swept
    check_unused(tmp_path)
    assert names(tmp_path) == []


def test_a_file_is_held_without_the_folder(tmp_path: Path) -> None:
    with held_file(tmp_path / "luts/a.json"):
        with pytest.raises(InUseError, match="a.json is in use by"), held_file(tmp_path / "luts/a.json"):
            pass
        with held_file(tmp_path / "luts/b.json"):
            pass
    assert names(tmp_path / "luts") == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_folder_that_may_not_be_written_is_one_line(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any, *arguments: Any, **options: Any) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with pytest.raises(StorageError, match="cannot write .*lock"), held(tmp_path):
        pass


def test_a_full_disk_frees_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, value: Any) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(locks, "write_json", refuse)
        with pytest.raises(StorageError), held(tmp_path):
            pass
    with held(tmp_path):
        pass


def test_a_file_system_without_locks_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(self: Any, *arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with held(tmp_path):
        pass
    assert "cannot be locked: let one process at a time work there" in caplog.text


def test_processes_that_train_together_hold_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Second:
        is_main = False

    with held(tmp_path):
        monkeypatch.setattr(locks, "world", Second)
        with held(tmp_path):
            assert names(tmp_path) == [".lock", ".lock.json"]
        assert names(tmp_path) == [".lock", ".lock.json"]
