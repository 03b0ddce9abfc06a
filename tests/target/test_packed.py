"""One file of several parts."""

import zipfile
from pathlib import Path

import pytest
from edgeprune_target.errors import TargetError
from edgeprune_target.packed import pack, unpack


def test_parts_come_back_and_bytes_are_the_same_at_any_time(tmp_path: Path) -> None:
    first, second = tmp_path / "a.zip", tmp_path / "b.zip"
    parts = {"model.xml": b"<net/>", "model.bin": bytes(1000)}
    for path in (first, second):
        pack(str(path), parts)
    assert unpack(str(first), "model.bin", "model.xml") == [bytes(1000), b"<net/>"]
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size < 1300


def test_a_part_that_is_missing_is_named(tmp_path: Path) -> None:
    pack(str(tmp_path / "a.zip"), {"model.xml": b"<net/>"})
    with pytest.raises(TargetError, match="a.zip has no part model.bin: export the model again"):
        unpack(str(tmp_path / "a.zip"), "model.xml", "model.bin")


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x03\x04 and so on", b"\0" * 500])
def test_another_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(TargetError, match="not a file that edgeprune packed") as caught:
        unpack(str(tmp_path / "a.zip"), "model.xml")
    assert "\n" not in str(caught.value)


def test_a_damaged_part_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    pack(str(path), {"model.bin": b"0123456789" * 10})
    path.write_bytes(path.read_bytes().replace(b"0123456789", b"x123456789", 1))
    with pytest.raises(TargetError, match="CRC"):
        unpack(str(path), "model.bin")


def test_what_unfolds_to_more_than_its_file_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("model.bin", bytes(10_000_000))
    with pytest.raises(TargetError, match="compressed"):
        unpack(str(tmp_path / "a.zip"), "model.bin")
