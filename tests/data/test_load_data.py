import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeprune.data import DataBundle, data_names, load_data, load_from_spec
from edgeprune.errors import DataError


def positions(data: DataBundle, split: str) -> set[int]:
    return set(data.splits[split].positions.tolist())


def test_names() -> None:
    assert data_names() == ["cifar10", "cifar100", "digits"]


def test_digits() -> None:
    data = load_data("digits")
    assert data.sizes == {"train": 1365, "val": 72, "test": 360}  # 5 % of 1437 is 71.85
    assert data.shape == (3, 32, 32) and len(data.classes) == 10
    images, labels = next(iter(data.train_batches(0, batch_size=128, seed=0)))
    assert images.shape == (128, 3, 32, 32) and labels.shape == (128,)
    assert abs(images.mean().item()) < 0.2 and 0.7 < images.std().item() < 1.3


def test_validation_images_are_training_images_left_out_per_class() -> None:
    data = load_data("digits", val_fraction=0.2)
    assert positions(data, "train") | positions(data, "val") == set(range(1437))
    assert data.sizes["val"] == 287
    assert np.bincount(data.splits["val"].labels).min() >= 27


def test_seed_moves_validation_and_never_test() -> None:
    first, other = load_data("digits", seed=0), load_data("digits", seed=1)
    assert positions(first, "val") != positions(other, "val")
    for (a, _), (b, _) in zip(first.batches("test"), other.batches("test"), strict=True):
        assert torch.equal(a, b)


def test_a_prefix_of_any_split_mixes_the_classes(make_folder: Callable[..., Path]) -> None:
    data = load_data(make_folder({"train": [20, 20], "test": [20, 20]}))
    for split in ("train", "test"):
        _, labels = next(iter(data.batches(split, limit=16)))
        assert 0 < labels.sum() < 16


def test_no_validation_split_when_none_is_wanted() -> None:
    data = load_data("digits", val_fraction=0)
    assert data.sizes["val"] == 0 and list(data.batches("val")) == []


def test_a_fifth_is_held_out_where_no_test_part_is(make_folder: Callable[..., Path]) -> None:
    folder = make_folder({"": [10, 20]})
    data = load_data(folder, val_fraction=0.25)
    assert data.sizes == {"train": 18, "val": 6, "test": 6}
    assert np.bincount(data.splits["test"].labels).tolist() == [2, 4]
    assert "6 of 30" in data.notes[0]
    assert positions(load_data(folder, seed=9), "test") == positions(data, "test")


@pytest.mark.parametrize("size", [(8, 8), (100, 60)])
def test_spec_rebuilds_the_same_batches(make_folder: Callable[..., Path], size: tuple[int, int]) -> None:
    data = load_data(make_folder({"": [10, 10]}, size=size), image_size=16, val_fraction=0.2, seed=3)
    again = load_from_spec(json.loads(json.dumps(data.spec())))
    assert again.sizes == data.sizes and again.classes == data.classes and again.shape == data.shape
    pairs = zip(
        [*data.train_batches(1, batch_size=4, seed=7), *data.batches("val")],
        [*again.train_batches(1, batch_size=4, seed=7), *again.batches("val")],
        strict=True,
    )
    assert all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in pairs)
    assert again.spec() == data.spec()


def test_spec_of_a_folder_that_changed(
    make_folder: Callable[..., Path], save_image: Callable[..., None]
) -> None:
    folder = make_folder({"": [10, 10]})
    spec = load_data(folder).spec()
    save_image(folder / "class0" / "new.png")
    with pytest.raises(DataError, match="has changed since this run began"):
        load_from_spec(spec)


def test_a_relative_path_is_found_again_from_elsewhere(
    make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder({"": [10, 10]})
    monkeypatch.chdir(folder.parent)
    spec = load_data("images").spec()
    monkeypatch.chdir("/")
    assert load_from_spec(spec).name == "images"


def test_unknown_name_lists_the_known_and_mentions_paths() -> None:
    with pytest.raises(DataError, match=r"unknown data set 'digit'.*known: cifar10.*path of a folder"):
        load_data("digit")


def test_a_path_that_is_not_there() -> None:
    with pytest.raises(DataError, match="no such data folder: .*/no/where"):
        load_data("./no/where")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val_fraction": 1.0}, "val_fraction"),
        ({"val_fraction": -0.1}, "val_fraction"),
        ({"image_size": 0}, "image_size"),
    ],
)
def test_options_out_of_range(options: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_data("digits", **options)


def test_too_few_images_to_hold_any_out(make_folder: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="2 images of 2 classes are too few to hold out 1"):
        load_data(make_folder({"": [1, 1]}))
