"""Boxes follow what is done to their image, and folders of boxes become batches."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from edgeprune.data import load_data, load_from_spec
from edgeprune.data.augment import Crop
from edgeprune.data.boxes import cropped
from edgeprune.data.canvases import scene, write_yolo

BOX = torch.tensor([[2.0, 4.0, 10.0, 8.0]])
LABEL = torch.tensor([3])


def test_resized_and_mirrored_by_hand() -> None:
    resized = Crop(0, 0, 20, 40, (40, 20))
    assert cropped(BOX, LABEL, resized)[0].tolist() == [[1.0, 8.0, 5.0, 16.0]]
    mirrored = Crop(0, 0, 20, 40, (20, 40), mirrored=True)
    assert cropped(BOX, LABEL, mirrored)[0].tolist() == [[30.0, 4.0, 38.0, 8.0]]


def test_a_crop_shows_boxes_whose_centre_is_in_it_cut_at_its_edges() -> None:
    boxes = torch.tensor([[0.0, 0.0, 8.0, 8.0], [5.0, 5.0, 25.0, 15.0], [30.0, 30.0, 34.0, 34.0]])
    shown, labels = cropped(boxes, torch.tensor([1, 2, 3]), Crop(4, 6, 8, 20, (16, 20)))
    assert shown.tolist() == [[0.0, 2.0, 19.0, 16.0]] and labels.tolist() == [2]


def test_a_shift_over_the_edge() -> None:
    shown, _ = cropped(BOX, LABEL, Crop(-3, -5, 20, 40, (20, 40)))
    assert shown.tolist() == [[7.0, 7.0, 15.0, 11.0]]


def test_a_box_of_which_less_than_a_pixel_is_left_goes() -> None:
    shown, labels = cropped(torch.tensor([[5.0, 0.0, 5.5, 9.0]]), LABEL, Crop(0, 0, 10, 10, (10, 10)))
    assert shown.shape == (0, 4) and labels.shape == (0,)


def ink(image: torch.Tensor, box: list[float]) -> float:
    """Return how much brighter a box is than the image."""
    x1, y1, x2, y2 = (round(value) for value in box)
    return float(image[:, y1:y2, x1:x2].mean() - image.mean())


def test_digits_detect_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeprune.data.named.CANVASES", {"train": 40, "test": 8})
    data = load_data("digits-detect", image_size=64)
    assert data.kind == "boxes" and data.shape == (3, 64, 64) and len(data.classes) == 10
    images, targets = next(data.train_batches(0, batch_size=8, seed=0))
    again, same = next(load_from_spec(data.spec()).train_batches(0, batch_size=8, seed=0))
    assert torch.equal(images, again)
    for target, other, image in zip(targets, same, images, strict=True):
        assert torch.equal(target["boxes"], other["boxes"]) and torch.equal(target["labels"], other["labels"])
        assert all(ink(image, box) > 0 for box in target["boxes"].tolist())
    assert sum(len(target["boxes"]) for target in targets) > 8
    _, plain = next(data.batches("test", batch_size=4))
    assert {len(target["boxes"]) for target in plain} <= {1, 2, 3, 4}


def test_a_folder_of_yolos_layout_in_batches(tmp_path: Path) -> None:
    write_yolo(tmp_path, 12, 4, side=64)
    data = load_data(tmp_path, kind="boxes", val_fraction=0.2)
    assert data.shape == (3, 64, 64) and data.classes[7] == "7"
    batch, targets = next(data.batches("test", batch_size=4))
    order = data.splits["test"].positions
    for number, target, image in zip(order.tolist(), targets, batch, strict=True):
        canvas = scene(number, part="test", side=64)
        assert torch.allclose(target["boxes"], canvas.boxes, atol=1e-2)
        assert torch.equal(target["labels"], canvas.labels)
        assert all(ink(image, box) > 0 for box in target["boxes"].tolist())
    spec = data.spec()
    assert load_from_spec(spec).sizes == data.sizes


def test_changed_boxes_are_another_data_set(tmp_path: Path) -> None:
    write_yolo(tmp_path, 12, 4, side=64)
    spec = load_data(tmp_path, kind="boxes").spec()
    path = sorted((tmp_path / "labels" / "train").iterdir())[0]
    path.write_text("0 0.5 0.5 0.25 0.25\n")
    try:
        load_from_spec(spec)
    except Exception as error:
        assert "has changed since this run began" in str(error)
    else:
        raise AssertionError


def test_large_images_are_resized_whole_and_cropped_at_random(
    tmp_path: Path, save_image: Callable[..., None]
) -> None:
    for part in ("train", "val"):
        for number in range(3):
            save_image(tmp_path / "images" / part / f"{number}.png", size=(100, 200), value=number)
            place = tmp_path / "labels" / part / f"{number}.txt"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(f"{number % 2} 0.5 0.5 0.5 0.5\n")
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [a, b]\n")
    data = load_data(tmp_path, kind="boxes", val_fraction=0)
    assert data.shape == (3, 320, 320)
    _, targets = next(data.batches("test", batch_size=3))
    assert all(target["boxes"].tolist() == [[80, 80, 240, 240]] for target in targets)
    sizes = set()
    for _, batch in [next(data.train_batches(epoch, batch_size=3, seed=0)) for epoch in range(3)]:
        for target in batch:
            boxes = target["boxes"]
            assert bool((boxes >= 0).all() and (boxes <= 320).all())
            sizes |= {tuple(box) for box in boxes.tolist()}
    assert len(sizes) > 4


def test_a_folder_of_labelled_images_is_still_one(tmp_path: Path, save_image: Callable[..., None]) -> None:
    for part in ("train", "test"):
        for label in ("a", "b"):
            for number in range(2):
                save_image(tmp_path / part / label / f"{number}.png", value=number)
    (tmp_path / "train" / "meta.json").write_text("{}")
    (tmp_path / "notes.yaml").write_text("a: 1\n")
    data = load_data(tmp_path, val_fraction=0)
    assert data.kind == "labels"
