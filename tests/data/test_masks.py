from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgeprune.data import load_data, load_from_spec
from edgeprune.data.targets import IGNORED
from edgeprune.errors import DataError


def write(folder: Path, name: str, mask: np.ndarray, image: np.ndarray | None = None) -> None:
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    pixels = np.repeat(mask[..., None] * 50, 3, -1).astype(np.uint8) if image is None else image
    Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
    Image.fromarray(mask).save(folder / "masks" / f"{name}.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Masks of three classes: 8 for training, 3 for testing, 12 x 10 pixels; an image is its mask times 50."""
    draw = np.random.default_rng(0)
    for part, count in {"train": 8, "test": 3}.items():
        for number in range(count):
            write(tmp_path / part, str(number), draw.integers(0, 3, (12, 10)).astype(np.uint8))
    return tmp_path


def test_a_folder_of_masks_is_recognised(folder: Path) -> None:
    data = load_data(folder, val_fraction=0.25)
    assert (data.kind, data.classes, data.shape) == ("masks", ("0", "1", "2"), (3, 12, 10))
    assert data.sizes == {"train": 6, "val": 2, "test": 3}
    mean, std = torch.tensor(data.mean).view(3, 1, 1), torch.tensor(data.std).view(3, 1, 1)
    for images, masks in [*data.batches("test"), *data.train_batches(0, batch_size=3, seed=1)]:
        assert masks.dtype == torch.int64 and masks.shape == (3, 12, 10)
        for image, mask in zip(images, masks, strict=True):
            counted = mask != IGNORED
            pixels = (image * std + mean)[0] * 255
            assert torch.allclose(pixels[counted], mask[counted] * 50.0, atol=1e-3)


def test_names_come_from_classes_txt_and_255_does_not_count(folder: Path) -> None:
    (folder / "classes.txt").write_text("ground\nroad\ncar\nsky\n")
    mask = np.full((12, 10), IGNORED, np.uint8)
    write(folder / "train", "0", mask)
    assert load_data(folder).classes == ("ground", "road", "car", "sky")


def test_a_run_finds_the_same_data_without_reading_the_masks_again(folder: Path) -> None:
    data = load_data(folder)
    for path in (folder / "test" / "masks").iterdir():
        path.write_bytes(b"")
    again = load_from_spec(data.spec())
    assert (again.kind, again.classes, again.sizes) == (data.kind, data.classes, data.sizes)
    first, second = (list(d.train_batches(3, batch_size=4, seed=2)) for d in (data, again))
    assert all(
        torch.equal(a, b) for x, y in zip(first, second, strict=True) for a, b in zip(x, y, strict=True)
    )
    with pytest.raises(DataError, match=r"broken mask .*\.png .*: write it again"):
        list(again.batches("test"))


def test_large_images_are_resized_whole_with_their_masks(folder: Path) -> None:
    mask = np.zeros((120, 200), np.uint8)
    mask[:, 100:] = 2
    for part in ("train", "test"):
        write(folder / part, "large", mask)
    data = load_data(folder, image_size=16)
    assert any("resized to 16x16" in note for note in data.notes)
    seen = [
        m for _, masks in data.batches("test") for m in masks if m[:, 8:].min() == 2 and m[:, :8].max() == 0
    ]
    assert len(seen) == 1
    for _, masks in data.train_batches(0, batch_size=4, seed=0):
        assert masks.shape == (4, 16, 16)


def wrong_size(folder: Path) -> None:
    write(folder / "train", "3", np.zeros((12, 9), np.uint8), np.zeros((12, 10, 3), np.uint8))


def unknown_class(folder: Path) -> None:
    (folder / "classes.txt").write_text("a\nb\n")


def gap(folder: Path) -> None:
    write(folder / "train", "3", np.full((12, 10), 7, np.uint8))


def colours(folder: Path) -> None:
    Image.new("RGB", (10, 12)).save(folder / "train" / "masks" / "3.png")


def binary(folder: Path) -> None:
    for path in folder.glob("*/masks/*.png"):
        Image.fromarray(np.array(Image.open(path)).clip(0, 1) * np.uint8(255)).save(path)


def no_mask(folder: Path) -> None:
    (folder / "test" / "masks" / "1.png").unlink()


def no_masks(folder: Path) -> None:
    for path in (folder / "test" / "masks").iterdir():
        path.unlink()
    (folder / "test" / "masks").rmdir()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (wrong_size, r"masks/3\.png is 9x12 pixels, its image 10x12"),
        (unknown_class, r"masks/\d\.png holds class 2, and classes\.txt has 2 names, 0 to 1"),
        (gap, r"values 0, 1, 2, 7, not 0, 1, 2 \.\.\. without a gap: write the names .* classes\.txt"),
        (colours, r"masks/3\.png is a colour image .RGB.: a mask is a PNG of one channel"),
        (binary, r"only class 0 beside 255, which is ignored: .* where 255 stands for an object, write 1"),
        (no_mask, r"images/1\.png has no mask: put it into .*masks/1\.png, or rename"),
        (no_masks, r"test has no masks/: images and masks belong in train/images"),
    ],
)
def test_wrong_masks_are_named_in_one_line(folder: Path, spoil: object, message: str) -> None:
    spoil(folder)  # type: ignore[operator]
    with pytest.raises(DataError, match=message) as caught:
        load_data(folder)
    assert "\n" not in str(caught.value)


def test_data_of_another_kind_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has masks as targets, where labels are needed"):
        load_data(folder, kind="labels")
    with pytest.raises(DataError, match=r"digits has labels as targets, where masks are needed"):
        load_data("digits", kind="masks")
    (tmp_path / "train" / "masks").rename(tmp_path / "train" / "other")
    with pytest.raises(DataError, match=r"train has no masks/: images and masks belong in"):
        load_data(tmp_path, kind="masks")
