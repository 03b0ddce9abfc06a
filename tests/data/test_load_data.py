import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgeprune.data import DataBundle, data_names, load_data, load_from_spec
from edgeprune.errors import DataError


def positions(data: DataBundle, split: str) -> set[int]:
    return set(data.splits[split].positions.tolist())


def test_names() -> None:
    assert data_names() == ["cifar10", "cifar100", "digits", "digits-detect", "digits-segment"]


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
    assert np.bincount(data.splits["val"].strata).min() >= 27


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
    assert np.bincount(data.splits["test"].strata).tolist() == [2, 4]
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


def left_out(path: Path) -> None:
    path.rename(path.with_name(path.name + ".broken"))


@pytest.mark.parametrize("size", [(8, 8), (100, 60)], ids=["memory", "files"])
@pytest.mark.parametrize("parts", [{"": [20, 20]}, {"train": [10, 10], "test": [5, 5]}])
def test_a_run_goes_on_without_an_image_that_broke(
    make_folder: Callable[..., Path], size: tuple[int, int], parts: dict
) -> None:
    folder = make_folder(parts, size=size)
    data = load_data(folder, image_size=16, val_fraction=0.2)
    spec, steps = json.loads(json.dumps(data.spec())), data.steps(4)
    paths = sorted(folder.rglob("*.png"))
    for path in paths[:3]:
        path.write_bytes(b"")
        left_out(path)
    again = load_from_spec(spec)
    assert again.steps(4) == steps and again.sizes["train"] == data.sizes["train"]
    assert again.sizes["val"] + again.sizes["test"] <= data.sizes["val"] + data.sizes["test"]
    assert np.array_equal(again.splits["train"].strata, data.splits["train"].strata)
    assert sum(len(y) for _, y in again.train_batches(0, batch_size=4, seed=0)) == 4 * steps
    for split in ("val", "test"):
        assert sum(len(y) for _, y in again.batches(split)) == again.sizes[split]


def test_images_that_are_left_out_are_never_given(make_folder: Callable[..., Path]) -> None:
    """Of 20 images one is white; left out, no batch of any split has it."""
    folder = make_folder({"": [10, 10]})
    for index, path in enumerate(sorted(folder.rglob("*.png"))):
        Image.new("RGB", (8, 8), "white" if index == 3 else "black").save(path)
    for renamed in (False, True):
        data = load_data(folder, val_fraction=0.2)
        batches = [x for s in data.splits for x, _ in data.batches(s)]
        assert (max(x.max().item() for x in batches) > 0) is not renamed
        if not renamed:
            left_out(folder / "class0" / "003.png")


def test_a_class_of_which_no_training_image_is_left(make_folder: Callable[..., Path]) -> None:
    folder = make_folder({"": [3, 10]})
    spec = load_data(folder, val_fraction=0.1).spec()
    for path in sorted((folder / "class0").glob("*.png")):
        left_out(path)
        try:
            load_from_spec(spec)
        except DataError as error:
            assert "all training images of a class are left out" in str(error)
            return
    raise AssertionError("no error")


def test_a_deleted_image_is_advised_upon(make_folder: Callable[..., Path]) -> None:
    folder = make_folder({"": [10, 10]})
    spec = load_data(folder).spec()
    (folder / "class0" / "003.png").unlink()
    with pytest.raises(DataError, match=r"\(19 images where it had 20\).* an empty file NAME\.broken"):
        load_from_spec(spec)
    (folder / "class0" / "003.png.broken").touch()
    assert load_from_spec(spec).sizes["train"] == 15


def test_deep_images_are_the_same_in_a_run_and_in_what_follows(make_folder: Callable[..., Path]) -> None:
    """12 bits in 16 are bright, in memory and from files; a rebuilt bundle does not look again."""
    folder = make_folder({"": [10, 10]})
    for size in ((8, 8), (120, 100)):
        for path in folder.rglob("*.png"):
            Image.fromarray(np.full(size, 4095, np.uint16)).save(path)
        data = load_data(folder, image_size=8)
        assert data.spec()["whites"] == {"16-bit grey": 4095}
        assert any("12 bits: 4095 is white" in note for note in data.notes)
        spec = json.loads(json.dumps(data.spec()))
        for path in folder.rglob("*.png"):
            Image.fromarray(np.full(size, 1000, np.uint16)).save(path)
        later = next(iter(load_from_spec(spec).batches("test")))[0]
        red = (later[0, 0, 0, 0] * data.std[0] + data.mean[0]).item() * 255
        assert red == pytest.approx(1000 >> 4, abs=0.01)


def test_a_run_of_before_keeps_its_pixels(make_folder: Callable[..., Path]) -> None:
    folder = make_folder({"": [10, 10]})
    for path in folder.rglob("*.png"):
        Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(path)
    spec = load_data(folder).spec()
    old = {key: value for key, value in spec.items() if key not in ("whites", "as_shown", "images")}
    shown_now, shown_then = (next(iter(load_from_spec(s).batches("test")))[0].max() for s in (spec, old))
    assert shown_now > 0 > shown_then


def test_truncated_images_show_before_training_and_all_at_once(make_folder: Callable[..., Path]) -> None:
    folder = make_folder({"": [10, 10]}, size=(100, 90))
    for path in sorted(folder.rglob("*.png"))[5:9]:
        path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"4 broken images: .*005\.png .*and 1 more"):
        load_data(folder)


def test_file_names_may_be_any_bytes(make_folder: Callable[..., Path]) -> None:
    folder = make_folder({"": [10, 10]})
    (folder / "class0" / "000.png").rename(folder / "class0" / os.fsdecode(b"\xff\n.png"))
    data = load_data(folder)
    assert load_from_spec(json.loads(json.dumps(data.spec()))).sizes == data.sizes
