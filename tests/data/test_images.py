from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgeprune.data.augment import generator_for
from edgeprune.data.images import FileImages, MemoryImages
from edgeprune.data.targets import Labels
from edgeprune.errors import DataError

POSITIONS = np.array([2, 0])


def memory(size: tuple[int, int] = (4, 4), *, flip: bool = True) -> MemoryImages:
    pixels = torch.arange(3 * 3 * 16, dtype=torch.uint8).view(3, 3, 4, 4)
    return MemoryImages(Labels(np.arange(3)), lambda: pixels, size=size, pad=1, flip=flip)


def test_memory_gives_the_asked_positions() -> None:
    images = memory()
    assert torch.equal(images.read(POSITIONS)[0], images.pixels[[2, 0]])


def test_memory_resizes_on_the_way_out_and_keeps_its_own() -> None:
    images = memory((8, 8))
    assert images.read(POSITIONS)[0].shape == (2, 3, 8, 8)
    assert images.read(POSITIONS, generator_for(0))[0].shape == (2, 3, 8, 8)
    assert images.pixels.shape == (3, 3, 4, 4)


def test_memory_augments_as_the_generator_says() -> None:
    images = memory()
    first, again = (images.read(POSITIONS, generator_for(4))[0] for _ in range(2))
    assert torch.equal(first, again)


def test_memory_reads_once_and_not_before_it_must() -> None:
    reads = []

    def read() -> torch.Tensor:
        reads.append(1)
        return torch.zeros(3, 3, 4, 4, dtype=torch.uint8)

    images = MemoryImages(Labels(np.arange(3)), read, size=(4, 4), pad=1, flip=True)
    assert reads == []
    images.prepare()
    images.read(POSITIONS)[0]
    assert reads == [1]


@pytest.fixture
def files(tmp_path: Path) -> FileImages:
    """Three images, 200 wide and 100 high: left half red, right half blue."""
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[:, :100, 0] = pixels[:, 100:, 2] = 255
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for path in paths:
        Image.fromarray(pixels).save(path)
    return FileImages(Labels(np.arange(3)), paths, 28)


def test_files_are_resized_by_the_shorter_side_and_cropped_at_the_centre(files: FileImages) -> None:
    images = files.read(POSITIONS)[0]
    assert images.shape == (2, 3, 28, 28) and images.dtype == torch.uint8
    assert images[0, 0, :, :12].min() == 255 and images[0, 0, :, 16:].max() == 0
    assert images[0, 2, :, :12].max() == 0 and images[0, 2, :, 16:].min() == 255


def test_files_augment_as_the_generator_says(files: FileImages) -> None:
    first, again, other = (files.read(POSITIONS, generator_for(key))[0] for key in (1, 1, 2))
    assert first.shape == (2, 3, 28, 28)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    many = files.read(np.zeros(8, np.int64), generator_for(1))[0]
    assert len({image.numpy().tobytes() for image in many}) > 1  # each image draws for itself


def test_a_file_that_breaks_later_is_named(files: FileImages) -> None:
    files.paths[2].write_bytes(b"")
    with pytest.raises(DataError, match=r"broken image .*2\.png"):
        files.read(POSITIONS)[0]


def test_a_part_is_read_as_in_the_whole_batch(files: FileImages) -> None:
    every = np.array([2, 0, 1])
    for images in (memory(), files):
        for key in (None, 5):
            pixels, crops = images.read(every, None if key is None else generator_for(key))
            part, crops_of_part = images.read(every, None if key is None else generator_for(key), slice(1, 3))
            assert torch.equal(part, pixels[1:]) and crops_of_part == crops[1:]
