"""Files are old or new, never a part."""

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from edgeprune.errors import EdgePruneError, StorageError
from edgeprune.files.paths import is_part
from edgeprune.files.reading import read_json, read_lines, sha256
from edgeprune.files.tensors import read_tensor_file
from edgeprune.files.writing import append_line, write_bytes, write_json, written_aside


def test_written_aside_puts_the_file_in_place_and_makes_its_folder(tmp_path: Path) -> None:
    place = tmp_path / "a" / "b" / "file.bin"
    with written_aside(place) as aside:
        assert aside.parent == place.parent and aside.name.endswith(".part")
        aside.write_bytes(b"new")
        assert not place.exists()
    assert place.read_bytes() == b"new"
    assert [p.name for p in place.parent.iterdir()] == ["file.bin"]


@pytest.mark.parametrize("error", [RuntimeError("mine"), KeyboardInterrupt()])
def test_a_failure_inside_leaves_the_old_file_and_no_part(tmp_path: Path, error: BaseException) -> None:
    place = tmp_path / "file"
    place.write_text("old")
    with pytest.raises(type(error)), written_aside(place) as aside:
        aside.write_text("half of the n")
        raise error
    assert place.read_text() == "old"
    assert list(tmp_path.iterdir()) == [place]


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "the disk is full: free some space"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "no permission"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_what_the_disk_says_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    place = tmp_path / "file.json"
    place.write_text("old")

    def fail(self: Path, content: bytes) -> int:
        with self.open("wb") as handle:
            handle.write(content[:3])
        raise OSError(number, "Input/output error")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(EdgePruneError) as error:
        write_json(place, {"a": 1})
    assert message in str(error.value) and str(place) in str(error.value) and "\n" not in str(error.value)
    assert place.read_text() == "old"
    assert list(tmp_path.iterdir()) == [place]


def test_a_full_disk_at_fsync_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(EdgePruneError, match="the disk is full"):
        write_bytes(tmp_path / "file", b"content")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgePruneError, match="cannot write .*file"):
        write_json(tmp_path / "file" / "x.json", {})
    assert (tmp_path / "file").read_text() == ""


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_json_without_nan(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", value)
    assert list(tmp_path.iterdir()) == []


def test_json_there_and_back(tmp_path: Path) -> None:
    value = {"b": [1, 2.5, None], "a": "ä"}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value
    assert list(read_json(tmp_path / "x.json")) == ["b", "a"]
    assert (tmp_path / "x.json").read_bytes().endswith(b"}\n")


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1', b"\xff\xfe\x00"])
def test_broken_json_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(EdgePruneError, match="x.json is not readable JSON") as error:
        read_json(tmp_path / "x.json")
    assert "\n" not in str(error.value)


def test_missing_json(tmp_path: Path) -> None:
    with pytest.raises(EdgePruneError, match="no such file: .*x.json"):
        read_json(tmp_path / "x.json")


# --- lines ----------------------------------------------------------------------------------------


def test_lines_there_and_back(tmp_path: Path) -> None:
    place = tmp_path / "lines.jsonl"
    assert read_lines(place) == []
    for number in range(3):
        append_line(place, {"n": number, "text": "a\nb"})
    assert [line["n"] for line in read_lines(place)] == [0, 1, 2]
    assert len(place.read_text().splitlines()) == 3


def test_a_last_line_that_was_cut_is_left_out(tmp_path: Path) -> None:
    place = tmp_path / "lines.jsonl"
    place.write_text('{"n": 0}\n{"n": 1')
    assert read_lines(place) == [{"n": 0}]


def test_lines_go_on_after_one_that_was_cut_at_any_byte(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What a killed process left of its last line is dropped before the next one is written, with a warning."""
    place = tmp_path / "lines.jsonl"
    for number in range(2):
        append_line(place, {"n": number})
    content = place.read_bytes()
    start = content.index(b"\n") + 1
    for end in range(start, len(content)):
        place.write_bytes(content[:end])
        caplog.clear()
        append_line(place, {"n": 2})
        assert read_lines(place) == [{"n": 0}, {"n": 2}]
        assert len(caplog.records) == (end > start)
    place.write_bytes(b"x" * 200_000)
    append_line(place, {"n": 0})
    assert read_lines(place) == [{"n": 0}]
    place.write_bytes(b"{}\n" + b"x" * 200_000)
    append_line(place, {"n": 0})
    assert read_lines(place) == [{}, {"n": 0}]


def test_another_broken_line_is_named(tmp_path: Path) -> None:
    place = tmp_path / "lines.jsonl"
    place.write_text('{"n": 0}\nnonsense\n{"n": 1}\n')
    with pytest.raises(EdgePruneError, match="lines.jsonl has a line that is not JSON: 'nonsense'"):
        read_lines(place)


def test_a_disk_that_fills_up_leaves_whole_lines(tmp_path: Path) -> None:
    place = tmp_path / "lines.jsonl"
    append_line(place, {"n": 0})
    before = place.read_bytes()
    with limited_to(len(before) + 4), pytest.raises(EdgePruneError, match="cannot write .*lines.jsonl"):
        append_line(place, {"n": 1})
    assert place.read_bytes() == before


def test_a_disk_that_fills_up_leaves_the_old_file(tmp_path: Path) -> None:
    """The kernel itself stops the write half-way."""
    place = tmp_path / "big"
    place.write_bytes(b"old")
    with limited_to(1000), pytest.raises(EdgePruneError, match="cannot write .*big"):
        write_bytes(place, bytes(5000))
    assert place.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [place]


class limited_to:
    """No file may grow beyond so many bytes."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __enter__(self) -> None:
        import resource

        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.before[1]))

    def __exit__(self, *_: object) -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)


def test_parts_are_known_by_their_names(tmp_path: Path) -> None:
    with written_aside(tmp_path / "x.json") as aside:
        aside.write_text(json.dumps(1))
        assert is_part(aside)
    assert not is_part(tmp_path / "x.json")


def test_digest(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc" * 1000)
    assert sha256(path) == hashlib.sha256(b"abc" * 1000).hexdigest()


# --- devices, pipes, links, permissions -----------------------------------------------------------


def test_a_device_stays_a_device() -> None:
    before = Path("/dev/null").stat()
    write_json(Path("/dev/null"), {"a": 1})
    assert Path("/dev/null").stat().st_rdev == before.st_rdev
    assert not list(Path("/dev").glob(".null*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_device_is_one_line() -> None:
    with pytest.raises(StorageError, match="cannot write /dev/full: the disk is full"):
        write_json(Path("/dev/full"), {"a": 1})


def test_a_pipe_gets_the_content_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_json(pipe, [1, 2])
    assert json.loads(os.read(reader, 100)) == [1, 2]
    os.close(reader)
    assert pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]


@pytest.mark.parametrize("name", ["/dev/fd/{}", "/proc/self/fd/{}"])
def test_a_descriptor_keeps_its_file_and_place(tmp_path: Path, name: str) -> None:
    with (tmp_path / "out").open("w+b", buffering=0) as handle:
        handle.write(b"before\n")
        write_bytes(Path(name.format(handle.fileno())), b"content\n")
        handle.write(b"after\n")
    assert (tmp_path / "out").read_bytes() == b"before\ncontent\nafter\n"


def test_standard_output_is_written_after_what_was_printed(capfd: pytest.CaptureFixture[str]) -> None:
    print("first")
    write_bytes(Path("/dev/stdout"), b"second\n")
    print("third")
    assert capfd.readouterr().out == "first\nsecond\nthird\n"


@pytest.mark.parametrize("loopback", [True, False], ids=["a file", "dangling"])
def test_a_link_stays_and_its_target_is_written(tmp_path: Path, loopback: bool) -> None:
    target, link = tmp_path / "elsewhere" / "file", tmp_path / "link"
    link.symlink_to(target)
    if loopback:
        target.parent.mkdir()
        target.write_text("old")
    write_bytes(link, b"new")
    assert link.is_symlink() and target.read_bytes() == b"new"
    assert list(target.parent.iterdir()) == [target]


def test_links_in_a_circle_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(StorageError, match="symbolic links lead in a circle"):
        write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").is_symlink() and (tmp_path / "b").is_symlink()


def test_a_folder_is_no_place_for_a_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="it is a folder: give the name of a file"):
        write_bytes(tmp_path / "folder", b"new")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_a_file_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    place = tmp_path / "file"
    place.write_text("old")
    place.chmod(mode)
    write_bytes(place, b"new")
    assert place.stat().st_mode & 0o777 == mode and place.read_bytes() == b"new"


def test_a_file_that_may_not_be_written_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "file"
    place.write_text("old")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anything
    with pytest.raises(StorageError, match="no permission"):
        write_bytes(place, b"new")
    assert place.read_text() == "old"


# --- what killed processes left -------------------------------------------------------------------


def test_parts_of_dead_processes_are_swept(tmp_path: Path, dead_process: int) -> None:
    dead, alive = dead_process, os.getppid()
    old = tmp_path / f".file.{dead}.part"
    kept = [
        tmp_path / f".file.{alive}.part",  # somebody writes it
        tmp_path / f".other.{dead}.part",  # another file's
        tmp_path / f".file.x{dead}.part",
        tmp_path / ".file.part",
    ]
    for path in (old, *kept):
        path.write_text("half")
        os.utime(path, (0, 0))
    write_bytes(tmp_path / "file", b"new")
    assert not old.exists() and all(path.exists() for path in kept)


def test_a_young_part_may_be_another_machine_s(tmp_path: Path, dead_process: int) -> None:
    young = tmp_path / f".file.{dead_process}.part"
    young.write_text("half")
    write_bytes(tmp_path / "file", b"new")
    assert young.exists()


def test_lines_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "lines.jsonl").write_bytes(b'{"a": "\xff"}\n')
    with pytest.raises(EdgePruneError, match="lines.jsonl has a line that is not JSON"):
        read_lines(tmp_path / "lines.jsonl")


@pytest.mark.parametrize("kind", ["fifo", "device", "link"])
def test_what_may_never_end_is_not_read(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "plan.json"
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "device":
        place = Path("/dev/zero")
    else:
        place.symlink_to("/dev/zero")
    for read in (read_json, read_lines):
        with pytest.raises(EdgePruneError, match=f"cannot read {place}: it is not a regular file"):
            read(place)


def test_a_file_too_large_to_be_one_of_ours_is_not_read(tmp_path: Path) -> None:
    place = tmp_path / "plan.json"
    with place.open("wb") as handle:
        handle.truncate(2**31)  # no block of it is written
    with pytest.raises(EdgePruneError, match="cannot read .*: it is larger than 1024 MB"):
        read_json(place)


def test_a_fifo_in_place_of_tensors(tmp_path: Path) -> None:
    place = tmp_path / "net.safetensors"
    os.mkfifo(place)
    with pytest.raises(EdgePruneError, match="is no regular file: give the file itself"):
        read_tensor_file(place)
