from collections.abc import Callable
from pathlib import Path

import pytest

from edgeprune.data import folder as folder_module
from edgeprune.data.folder import read_folder
from edgeprune.data.images import FileImages, MemoryImages
from edgeprune.data.source import ReadOptions
from edgeprune.errors import DataError

HALVES = {"train": [3, 3], "test": [2, 2]}


def test_small_equal_images_are_held_at_their_own_size(make_folder: Callable[..., Path]) -> None:
    source = read_folder(make_folder(HALVES, size=(8, 10)), ReadOptions())
    assert isinstance(source.train, MemoryImages)
    assert source.shape == (3, 8, 10) and source.native == (8, 10)
    assert source.notes == ()


def test_a_given_size_wins(make_folder: Callable[..., Path]) -> None:
    source = read_folder(make_folder(HALVES), ReadOptions(image_size=12))
    assert source.shape == (3, 12, 12) and source.native == (8, 8)


def test_large_images_are_read_as_needed(make_folder: Callable[..., Path]) -> None:
    source = read_folder(make_folder(HALVES, size=(97, 97)), ReadOptions())
    assert isinstance(source.train, FileImages)
    assert source.shape == (3, 224, 224) and source.native is None
    assert "224x224" in source.notes[0]


def test_too_many_images_for_memory(
    make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "MEMORY_LIMIT_BYTES", 10 * 3 * 8 * 8 - 1)
    source = read_folder(make_folder(HALVES), ReadOptions(image_size=8))
    assert isinstance(source.train, FileImages) and source.shape == (3, 8, 8)


def test_unequal_images_are_read_as_needed(
    make_folder: Callable[..., Path], save_image: Callable[..., None]
) -> None:
    folder = make_folder(HALVES)
    save_image(folder / "train" / "class0" / "odd.png", size=(9, 8))
    assert isinstance(read_folder(folder, ReadOptions()).train, FileImages)


def test_an_odd_size_that_the_probe_missed(
    make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, save_image: Callable[..., None]
) -> None:
    monkeypatch.setattr(folder_module, "PROBED", 1)
    folder = make_folder(HALVES)
    save_image(folder / "train" / "class1" / "odd.png", size=(9, 8))
    source = read_folder(folder, ReadOptions())
    assert isinstance(source.train, FileImages) and source.native is None


@pytest.mark.parametrize("size", [(8, 8), (100, 100)])
def test_a_broken_image_shows_at_once(make_folder: Callable[..., Path], size: tuple[int, int]) -> None:
    folder = make_folder(HALVES, size=size)
    (folder / "test" / "class1" / "001.png").write_bytes(b"oops")
    with pytest.raises(DataError, match=r"broken image .*test/class1/001\.png"):
        read_folder(folder, ReadOptions())


def test_grey_images_become_coloured(make_folder: Callable[..., Path]) -> None:
    source = read_folder(make_folder(HALVES, mode="L"), ReadOptions())
    assert source.shape == (3, 8, 8)


def test_fingerprint_follows_the_file_names(
    make_folder: Callable[..., Path], save_image: Callable[..., None]
) -> None:
    folder = make_folder(HALVES)
    before = read_folder(folder, ReadOptions()).fingerprint
    assert read_folder(folder, ReadOptions()).fingerprint == before
    save_image(folder / "train" / "class0" / "new.png")
    assert read_folder(folder, ReadOptions()).fingerprint != before


def test_spread_is_even() -> None:
    paths = tuple(Path(str(index)) for index in range(10))
    assert [path.name for path in folder_module._spread(paths, 4)] == ["0", "3", "6", "9"]
    assert folder_module._spread(paths, 10) == paths
