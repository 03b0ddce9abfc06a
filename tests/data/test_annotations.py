"""COCO's and YOLO's layouts: boxes and classes as they stand there, and one line for what is wrong with them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeprune.data.annotations import sized
from edgeprune.data.boxes import read_boxed
from edgeprune.data.canvases import DIGITS, scene, write_yolo
from edgeprune.data.coco import has_coco, read_coco
from edgeprune.data.source import ReadOptions
from edgeprune.data.yolo import has_yolo, read_yolo
from edgeprune.errors import DataError

Save = Callable[..., None]


def coco(names: tuple[str, ...] = ("a.png", "b.png")) -> dict[str, Any]:
    """Two images of 20x10 (width x height), three boxes of two classes."""
    return {
        "images": [
            {"id": 7 + number, "file_name": name, "width": 20, "height": 10}
            for number, name in enumerate(names)
        ],
        "annotations": [
            {"id": 1, "image_id": 8, "category_id": 30, "bbox": [1, 2, 3, 4]},
            {"id": 2, "image_id": 7, "category_id": 5, "bbox": [0.5, 0, 19.5, 10], "iscrowd": 0, "area": 195},
            {"id": 3, "image_id": 8, "category_id": 5, "bbox": [10, 5, 10.4, 5]},
        ],
        "categories": [{"id": 30, "name": "dog"}, {"id": 5, "name": "cat", "supercategory": "animal"}],
    }


@pytest.fixture
def coco_folder(tmp_path: Path, save_image: Save) -> Path:
    for part in ("train", "val"):
        for number, name in enumerate(("a.png", "b.png")):
            save_image(tmp_path / part / name, size=(10, 20), value=number)
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / "annotations" / f"instances_{part}.json").write_text(json.dumps(coco()))
    return tmp_path


def damage(folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Change the annotations of train and return their path."""
    path = folder / "annotations" / "instances_train.json"
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
    return path


def message(folder: Path) -> str:
    with pytest.raises(DataError) as fault:
        read_boxed(folder, ReadOptions())
    text = str(fault.value)
    assert "\n" not in text
    return text


def test_coco_boxes_by_hand(coco_folder: Path) -> None:
    assert has_coco(coco_folder) and not has_yolo(coco_folder)
    data = read_coco(coco_folder)
    assert data.classes == ("cat", "dog")  # by rising id
    part = sized(data.train)
    assert [path.name for path in part.paths] == ["a.png", "b.png"]
    assert part.boxes[0].tolist() == [[0.5, 0, 20, 10]] and part.labels[0].tolist() == [0]
    # The last box stands half a pixel over the edge, as rounding makes it, and is cut off there.
    assert part.boxes[1].tolist() == [[1, 2, 4, 6], [10, 5, 20, 10]] and part.labels[1].tolist() == [1, 0]
    assert data.test is not None and len(data.test.images) == 2


@pytest.mark.parametrize("place", ["train/_annotations.coco.json", "train.json", "instances_train2017.json"])
def test_other_places_of_coco_files(coco_folder: Path, place: str) -> None:
    (coco_folder / "annotations" / "instances_train.json").rename(coco_folder / place)
    assert len(read_coco(coco_folder).train.images) == 2


def test_images_of_coco_named_with_their_folder(coco_folder: Path) -> None:
    damage(coco_folder, lambda v: v["images"][0].update(file_name="train/a.png"))
    assert read_coco(coco_folder).train.images[0].path == coco_folder / "train" / "a.png"


def test_crowds_are_left_out_with_a_note(coco_folder: Path) -> None:
    damage(coco_folder, lambda v: v["annotations"][0].update(iscrowd=1))
    part = read_coco(coco_folder).train
    assert len(part.images[1].boxes) == 1 and "1 regions marked as crowds" in part.notes[0]


BAD_COCO = {
    "outside": (lambda v: v["annotations"][0].update(bbox=[15, 2, 9, 4]), "annotation 1 (of b.png): the box from "
                "(15, 2, 24, 6) lies outside of its image of 20x10 pixels"),
    "empty": (lambda v: v["annotations"][0].update(bbox=[5, 2, 0, 4]), "annotation 1 (of b.png): the box is 0 by 4"),
    "negative": (lambda v: v["annotations"][0].update(bbox=[5, 2, -3, 4]), "annotation 1 (of b.png): the box is -3"),
    "class": (lambda v: v["annotations"][0].update(category_id=9), "annotation 1: category_id 9 is none of"),
    "image": (lambda v: v["annotations"][0].update(image_id=99), "annotation 1: image_id 99 is none of"),
    "three": (lambda v: v["annotations"][0].update(bbox=[1, 2, 3]), "`annotations[0].bbox` must be"),
    "text": (lambda v: v["annotations"][2].update(bbox=[1, 2, 3, "x"]), "`annotations[2].bbox[3]` must be"),
    "none": (lambda v: v.update(annotations=[]), "has no annotations"),
    "categories": (lambda v: v.update(categories=[]), "`categories` must be"),
    "twice": (lambda v: v["images"][1].update(id=7), "two `images` have the same id"),
    "names": (lambda v: v["categories"][1].update(name="dog"), "two `categories` have one id or one name"),
    "size": (lambda v: v["images"][0].update(width=30), "is 30x10 pixels, but it is 20x10"),
    "lost": (lambda v: v["images"][0].update(file_name="c.png"), "c.png, which is not there"),
    "out": (lambda v: v["images"][0].update(file_name="../../x.png"), "image 7: '../../x.png' leads out"),
    "key": (lambda v: v.pop("images"), "`images` is missing"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_COCO)
def test_what_is_wrong_in_coco_is_one_line(coco_folder: Path, case: str) -> None:
    change, expected = BAD_COCO[case]
    path = damage(coco_folder, change)
    text = message(coco_folder)
    assert expected in text and str(path) in text


@pytest.mark.parametrize("content", ["", "[]", '{"images": [', "[" * 4000])
def test_a_file_that_is_not_coco(coco_folder: Path, content: str) -> None:
    path = coco_folder / "annotations" / "instances_train.json"
    path.write_text(content)
    assert str(path) in message(coco_folder)


def test_classes_that_differ_between_parts(coco_folder: Path) -> None:
    damage(coco_folder, lambda v: v["categories"][1].update(name="cow"))
    assert "classes of train and val differ" in message(coco_folder)


def test_two_files_for_one_part(coco_folder: Path) -> None:
    (coco_folder / "annotations" / "instances_train2.json").write_text("{}")
    assert "several annotation files for train" in message(coco_folder)


def test_a_broken_image_is_named(coco_folder: Path) -> None:
    (coco_folder / "train" / "b.png").write_bytes((coco_folder / "train" / "b.png").read_bytes()[:60])
    assert "b.png" in message(coco_folder)


# --- YOLO --------------------------------------------------------------------------------------------------


@pytest.fixture
def yolo_folder(tmp_path: Path) -> Path:
    write_yolo(tmp_path, 4, 2, side=64)
    return tmp_path


def first_label(folder: Path) -> Path:
    return sorted((folder / "labels" / "train").iterdir())[0]


def test_yolo_gives_the_boxes_that_were_written(yolo_folder: Path) -> None:
    assert has_yolo(yolo_folder) and not has_coco(yolo_folder)
    data = read_yolo(yolo_folder)
    assert data.classes == tuple(str(digit) for digit in range(DIGITS))
    for part, name in ((data.train, "train"), (data.test, "test")):
        assert part is not None
        read = sized(part)
        for number, (boxes, labels) in enumerate(zip(read.boxes, read.labels, strict=True)):
            canvas = scene(number, part=name, side=64)
            assert boxes == pytest.approx(canvas.boxes.numpy(), abs=1e-3)
            assert labels.tolist() == canvas.labels.tolist()


def test_an_outline_becomes_its_box(yolo_folder: Path) -> None:
    first_label(yolo_folder).write_text("3 0.25 0.5 0.5 0.25 0.75 0.5\n")
    image = read_yolo(yolo_folder).train.images[0]
    assert image.boxes.tolist() == [[0.25, 0.25, 0.75, 0.5]] and image.labels.tolist() == [3]


def test_an_image_without_labels_has_nothing_in_it(yolo_folder: Path) -> None:
    first_label(yolo_folder).unlink()
    part = read_yolo(yolo_folder).train
    assert len(part.images[0].boxes) == 0 and "1 of 4 images have no file" in part.notes[0]


BAD_LINES = {
    "outside": ("0 0.9 0.5 0.4 0.2", "line 2: the box from (44.8, 25.6, 70.4, 38.4) lies outside"),
    "empty": ("0 0.5 0.5 0 0.2", "line 2: the box is 0 by 12.8, empty"),
    "class": ("10 0.5 0.5 0.1 0.1", "line 2: class 10 is none of the 10"),
    "fraction": ("1.5 0.5 0.5 0.1 0.1", "line 2: class 1.5 is none"),
    "four": ("0 0.5 0.5 0.1", "line 2: '0 0.5 0.5 0.1' is not 'class x y width height'"),
    "text": ("zero 0.5 0.5 0.1 0.1", "line 2: 'zero"),
    "nan": ("0 nan 0.5 0.1 0.1", "line 2: '0 nan"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_what_is_wrong_in_a_line_is_one_line(yolo_folder: Path, case: str) -> None:
    line, expected = BAD_LINES[case]
    path = first_label(yolo_folder)
    path.write_text(f"0 0.5 0.5 0.1 0.1\n{line}\n")
    text = message(yolo_folder)
    assert expected in text and str(path) in text


BAD_YAML = {
    "code": ("names: !!python/object/apply:os.system ['touch FILE']\n", "not readable YAML"),
    "names": ("train: images/train\nnames: {0: a, 2: b}\n", "without a gap"),
    "count": ("train: images/train\nnc: 3\nnames: [a, b]\n", "`nc` is 3, but `names` has 2"),
    "missing": ("train: images/train\n", "`names` is missing"),
    "folder": ("train: images/other\nnames: [a, b]\n", "`train` is 'images/other', but there is no folder"),
    "bomb": ("a: &a [x, x]\nb: &b [*a, *a]\nnames: *b\n", "references"),
    "cut": ("names: [a, b\n", "line 2: not readable YAML"),
    "list": ("- a\n", "must be object"),
    "twice": ("train: images/train\nnames: [a, a]\n", "two classes"),
}


@pytest.mark.parametrize("case", BAD_YAML)
def test_what_is_wrong_in_data_yaml_is_one_line(yolo_folder: Path, case: str) -> None:
    content, expected = BAD_YAML[case]
    path = yolo_folder / "digits.yaml"
    path.write_text(content.replace("FILE", str(yolo_folder / "ran")))
    text = message(yolo_folder)
    assert expected in text and "digits.yaml" in text and not (yolo_folder / "ran").exists()


def test_labels_that_are_all_empty(yolo_folder: Path) -> None:
    for path in (yolo_folder / "labels" / "train").iterdir():
        path.write_text("")
    assert "has no boxes" in message(yolo_folder)


def test_no_folder_of_labels(yolo_folder: Path) -> None:
    (yolo_folder / "labels" / "train").rename(yolo_folder / "other")
    assert "there is no folder" in message(yolo_folder)
