"""Read detection data in COCO's layout: folders of images, and a JSON file for each part.

For the part ``train`` the images are in train/, train2017/ or images/train/, the file is the one JSON in that folder,
or annotations/*train*.json, or *train*.json beside the folders.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.data.annotations import PARTS, Annotated, AnnotatedImage, AnnotatedPart, below
from edgeprune.data.decode import shown
from edgeprune.data.layout import SUFFIXES
from edgeprune.errors import DataError
from edgeprune.files.reading import read_json
from edgeprune.records import check
from edgeprune.records.detection import CocoFile

HINT = "detection needs COCO's `images`, `annotations` with `bbox`, and `categories`"


def has_coco(folder: Path) -> bool:
    """Return whether the training part has a JSON file, and images that are in no folders of classes."""
    if not _candidates(folder, "train"):
        return False
    places = [*folder.glob("train*"), *folder.glob("images/train*")]
    return any(
        path.suffix.lower() in SUFFIXES for place in places if place.is_dir() for path in place.iterdir()
    )


def read_coco(folder: Path) -> Annotated:
    """Read annotations in COCO's layout; images are not opened.

    Raises:
        DataError: a file is missing, ambiguous or malformed; the message names file and entry.
    """
    parts = [part for part in PARTS if _candidates(folder, part)]
    if "train" not in parts:
        raise DataError(
            f"{folder} has no annotations of train: put them into {folder}/annotations/train.json"
        )
    train = _part(folder, "train")
    held = next((part for part in ("test", "val") if part in parts), None)
    notes = (
        () if len(parts) < 3 else (f"val of {folder} is not used: validation images are taken from train",)
    )
    test = _part(folder, held) if held else None
    if test is not None and test[0] != train[0]:
        odd = sorted(set(test[0]) ^ set(train[0]))
        raise DataError(
            f"the classes of train and {held} differ in {folder}"
            + (f": {', '.join(map(repr, odd[:3]))}" if odd else ": their ids are in another order")
        )
    return Annotated(train[0], train[1], test[1] if test else None, notes)


def _part(folder: Path, part: str) -> tuple[tuple[str, ...], AnnotatedPart]:
    candidates = _candidates(folder, part)
    if len(candidates) > 1:
        names = ", ".join(shown(path.relative_to(folder)) for path in candidates[:3])
        raise DataError(f"{folder} has several annotation files for {part}: {names}: keep one of them there")
    path, images = candidates[0], _image_folder(folder, part)
    try:
        value = read_json(path)
    except RecursionError as error:
        raise DataError(f"{path} is nested too deeply: {HINT}") from error
    except DataError:
        raise
    except Exception as error:
        raise DataError(str(error)) from error
    check(value, CocoFile, path, error=DataError, hint=HINT)
    return _annotated(value, path, images)


def _annotated(value: dict[str, Any], path: Path, folder: Path) -> tuple[tuple[str, ...], AnnotatedPart]:
    """Return the classes by rising id, and the images in the order of the file."""
    categories = {entry["id"]: entry["name"] for entry in sorted(value["categories"], key=lambda c: c["id"])}
    classes = tuple(categories.values())
    if len(categories) < len(value["categories"]) or len(set(classes)) < len(classes):
        raise DataError(f"{path}: two `categories` have one id or one name: mend them")
    place_of = {identity: place for place, identity in enumerate(categories)}
    if not value["annotations"]:
        raise DataError(f"{path} has no annotations: a detector needs boxes to learn from")
    by_image: dict[int, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    known, crowds = {image["id"] for image in value["images"]}, 0
    if len(known) < len(value["images"]):
        raise DataError(f"{path}: two `images` have the same id: mend them")
    for number, entry in enumerate(value["annotations"]):
        origin = f"{path}: annotation {entry.get('id', number)}"
        if entry["category_id"] not in place_of:
            raise DataError(f"{origin}: category_id {entry['category_id']} is none of `categories`: mend it")
        if entry["image_id"] not in known:
            raise DataError(f"{origin}: image_id {entry['image_id']} is none of `images`: mend or remove it")
        if entry.get("iscrowd"):
            crowds += 1
        else:
            by_image[entry["image_id"]].append((origin, entry))
    images = [_image(entry, by_image[entry["id"]], place_of, path, folder) for entry in value["images"]]
    notes = (f"{path.name}: {crowds} regions marked as crowds are left out",) if crowds else ()
    return classes, AnnotatedPart(folder, str(path), tuple(images), notes=notes)


def _image(
    entry: dict[str, Any],
    annotations: Sequence[tuple[str, dict[str, Any]]],
    place_of: dict[int, int],
    path: Path,
    folder: Path,
) -> AnnotatedImage:
    corners = np.array([a["bbox"] for _, a in annotations], np.float64).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    labels = np.array([place_of[a["category_id"]] for _, a in annotations], np.int64)
    size = (entry.get("height"), entry.get("width"))
    return AnnotatedImage(
        _file(folder, entry["file_name"], f"{path}: image {entry['id']}"),
        corners,
        labels,
        tuple(f"{origin} (of {entry['file_name']})" for origin, _ in annotations),
        None if None in size else size,  # type: ignore[arg-type]
    )


def _file(folder: Path, name: str, origin: str) -> Path:
    """Return an image's path: names may begin with the folder's own name, as in ``train2017/1.jpg``."""
    path = below(folder, name, origin)
    if not path.exists() and len(Path(name).parts) > 1 and (folder.parent / name).exists():
        return folder.parent / name
    return path


def _image_folder(folder: Path, part: str) -> Path:
    for parent in (folder, folder / "images"):
        named = [parent / part, *sorted(parent.glob(f"{part}20[0-9][0-9]"))]
        for place in named:
            if place.is_dir():
                return place
    raise DataError(
        f"{folder} has annotations of {part}, but no folder {part}/ or images/{part}/ with its images"
    )


def _candidates(folder: Path, part: str) -> list[Path]:
    """Return the files that may be the annotations of a part, from the first place that has any."""
    places = [
        (folder / part, "*.json"),
        (folder / "annotations", f"*{part}*.json"),
        (folder, f"*{part}*.json"),
    ]
    for place, pattern in places:
        files = sorted(path for path in place.glob(pattern) if path.is_file())
        # COCO's own folder has captions and key points beside the boxes.
        boxes = [path for path in files if path.name.startswith("instances")]
        if files:
            return boxes if len(boxes) == 1 else files
    return []
