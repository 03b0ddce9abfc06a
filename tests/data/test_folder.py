from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeprune.data import folder as folder_module
from edgeprune.data.augment import generator_for
from edgeprune.data.folder import read_folder
from edgeprune.data.images import FileImages, MemoryImages, SmallFileImages
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


@pytest.mark.parametrize("image_size", [None, 12])
def test_images_that_do_not_fit_into_memory_give_the_same_batches(
    make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, image_size: int | None
) -> None:
    folder, options = make_folder(HALVES, size=(8, 10)), ReadOptions(image_size=image_size)
    held = read_folder(folder, options)
    needed = 10 * 3 * 8 * 10  # bytes of all images
    monkeypatch.setattr(folder_module, "free_memory", lambda: 2 * needed)
    assert type(read_folder(folder, options).train) is MemoryImages
    monkeypatch.setattr(folder_module, "free_memory", lambda: 2 * needed - 1)
    read = read_folder(folder, options)
    assert isinstance(read.train, SmallFileImages) and read.shape == held.shape and read.native == (8, 10)
    assert read.notes == (
        "images are read from their files for each batch, not held in memory; in_memory changes that",
    )
    positions = np.array([4, 0, 5])
    for key in (None, 1, 2):
        pixels, crops = held.train.read(positions, None if key is None else generator_for(key))
        again, crops_again = read.train.read(positions, None if key is None else generator_for(key))
        assert torch.equal(pixels, again) and crops == crops_again


def test_processes_of_one_machine_share_its_memory(
    make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "free_memory", lambda: 7 * 2 * 10 * 3 * 8 * 8)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert isinstance(read_folder(make_folder(HALVES), ReadOptions()).train, SmallFileImages)


def test_memory_can_be_chosen(make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(HALVES)
    assert isinstance(read_folder(folder, ReadOptions(in_memory=False)).train, SmallFileImages)
    monkeypatch.setattr(folder_module, "free_memory", lambda: 0)
    assert type(read_folder(folder, ReadOptions(in_memory=True)).train) is MemoryImages


def test_large_images_are_never_held(make_folder: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="more than 96 pixels, are always read from their files"):
        read_folder(make_folder(HALVES, size=(97, 97)), ReadOptions(in_memory=True))


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
