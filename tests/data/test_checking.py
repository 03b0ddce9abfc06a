from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from edgeprune.data import checking
from edgeprune.data.checking import survey
from edgeprune.errors import DataError

SUFFIXES = ("png", "jpg", "gif", "webp", "bmp", "tif", "ppm")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"a.{suffix}" for suffix in SUFFIXES]
    for path in paths:
        Image.effect_noise((60, 40), 80).convert("RGB").save(path)
    return paths


def test_sizes_and_progress(files: list[Path]) -> None:
    calls = []
    result = survey(files, lambda *call: calls.append(call))
    assert result.sizes == {(40, 60)} and result.whites == {} and result.notes == ()
    assert calls == [(7, 7, "checking images")]


@pytest.mark.parametrize("index", range(len(SUFFIXES)), ids=SUFFIXES)
def test_a_truncated_file_of_every_format_is_named(files: list[Path], index: int) -> None:
    path = files[index]
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(DataError, match=rf"broken image .*{path.name}"):
        survey(files)


def test_a_complete_file_without_its_end_is_good(files: list[Path]) -> None:
    """Cameras append data of their own to JPEG files, which are then decoded to be sure."""
    path = files[1]
    path.write_bytes(path.read_bytes() + bytes(2 * checking.TAIL))
    assert survey(files).sizes == {(40, 60)}


def test_complete_files_with_an_end_are_not_decoded(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: decoded.append(image.format))
    survey(files)
    assert decoded == ["BMP", "TIFF", "PPM"]


def test_all_broken_files_are_reported_at_once(files: list[Path]) -> None:
    for path in files[:5]:
        path.write_bytes(b"")
    with pytest.raises(DataError) as caught:
        survey(files)
    message = str(caught.value)
    assert message.startswith("5 broken images: ") and "a.png (an empty file)" in message
    assert "and 2 more" in message and "add .broken to their names" in message and "\n" not in message


def test_a_turned_image_has_the_size_that_is_shown(tmp_path: Path, save_image: Callable[..., None]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert survey([tmp_path / "a.jpg"]).sizes == {(8, 4)}
