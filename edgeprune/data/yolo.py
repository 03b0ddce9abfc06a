"""Read detection data in YOLO's layout: images/PART/*, labels/PART/*.txt with a line for each box, and data.yaml."""

from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.data.annotations import Annotated, AnnotatedImage, AnnotatedPart, images_in
from edgeprune.data.decode import shown
from edgeprune.errors import DataError
from edgeprune.files.reading import read_bytes, read_yaml
from edgeprune.records import check
from edgeprune.records.detection import YoloFile

HINT = "YOLO's data.yaml has `train`, `val` and `names`"
COLUMNS = 5  # class, centre, size


def has_yolo(folder: Path) -> bool:
    """Return whether the folder has labels beside images, or a YAML file and images."""
    if (folder / "images").is_dir():
        return (folder / "labels").is_dir() or bool(_yaml_files(folder))
    return bool(_yaml_files(folder)) and (folder / "train" / "images").is_dir()


def read_yolo(folder: Path) -> Annotated:
    """Read annotations in YOLO's layout; images are not opened.

    Raises:
        DataError: a file is missing, ambiguous or malformed; the message names file and line.
    """
    path, value = _description(folder)
    classes = _classes(value, path)
    base = _base(folder, value)
    train = _part(_folder(base, value, "train", path), classes)
    held = next((part for part in ("test", "val") if value.get(part)), None)
    notes: tuple[str, ...] = ()
    if value.get("test") and value.get("val"):
        notes = (f"val of {path.name} is not used: validation images are taken from train",)
    test = _part(_folder(base, value, held, path), classes) if held else None
    return Annotated(classes, train, test, notes)


def _yaml_files(folder: Path) -> list[Path]:
    return sorted(path for pattern in ("*.yaml", "*.yml") for path in folder.glob(pattern) if path.is_file())


def _description(folder: Path) -> tuple[Path, dict[str, Any]]:
    files = _yaml_files(folder)
    named = [path for path in files if path.name == "data.yaml"]
    if len(files) != 1 and len(named) != 1:
        count = "no data.yaml" if not files else f"{len(files)} YAML files, none of them data.yaml"
        raise DataError(f"{folder} has labels/, but {count}: {HINT}")
    path = (named or files)[0]
    value = read_yaml(path, DataError)
    check(value, YoloFile, path, error=DataError, hint=HINT)
    for part in ("train", "val", "test"):  # the layout's own folders need not be named
        if part not in value and (folder / "images" / part).is_dir():
            value = {**value, part: f"images/{part}"}
    if not value.get("train"):
        raise DataError(f"{path}: `train` is missing: {HINT}")
    return path, value


def _classes(value: dict[str, Any], path: Path) -> tuple[str, ...]:
    names = value["names"]
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise DataError(f"{path}: `names` must number the classes 0 to {len(names) - 1} without a gap")
        names = [names[number] for number in range(len(names))]
    if value.get("nc") not in (None, len(names)):
        raise DataError(f"{path}: `nc` is {value['nc']}, but `names` has {len(names)}: mend one of them")
    if len(set(names)) < len(names):
        raise DataError(f"{path}: two classes of `names` have one name: rename one")
    return tuple(names)


def _base(folder: Path, value: dict[str, Any]) -> Path:
    """Return the folder that the parts are named from: `path` where there is such a folder, else that of the file."""
    stated = Path(value.get("path") or ".").expanduser()
    return stated if stated.is_absolute() and stated.is_dir() else folder


def _folder(base: Path, value: dict[str, Any], part: str, path: Path) -> Path:
    stated = Path(value[part])
    # Roboflow writes ../train/images where the folder lies beside the file.
    choices = [base / stated, base / Path(*[piece for piece in stated.parts if piece != ".."])]
    for choice in choices:
        if choice.is_dir():
            return choice
    raise DataError(f"{path}: `{part}` is {value[part]!r}, but there is no folder {shown(choices[0])}")


def _part(folder: Path, classes: tuple[str, ...]) -> AnnotatedPart:
    """Return images and boxes; labels/ stands for the last images/ of the path, as YOLO's trainers have it."""
    pieces = list(folder.absolute().parts)
    if "images" not in pieces:
        raise DataError(
            f"{shown(folder)} has no images/ in its path, which labels/ could stand beside: {HINT}"
        )
    place = len(pieces) - 1 - pieces[::-1].index("images")
    labels = Path(*pieces[:place], "labels", *pieces[place + 1 :])
    if not labels.is_dir():
        raise DataError(f"there is no folder {shown(labels)} with the boxes of {shown(folder)}: add it")
    files = images_in(folder)
    if not files:
        raise DataError(f"no images in {shown(folder)}: add some")
    images = [_image(path, labels / path.relative_to(folder).with_suffix(".txt"), classes) for path in files]
    without = sum(not (labels / path.relative_to(folder).with_suffix(".txt")).exists() for path in files)
    notes = (f"{without} of {len(files)} images have no file in {shown(labels)}: nothing is in them",)
    return AnnotatedPart(folder, shown(labels), tuple(images), relative=True, notes=notes if without else ())


def _image(path: Path, label_file: Path, classes: tuple[str, ...]) -> AnnotatedImage:
    boxes: list[list[float]] = []
    labels: list[int] = []
    origins: list[str] = []
    for number, line in enumerate(_lines(label_file), start=1):
        if not line.strip():
            continue
        origin = f"{shown(label_file)}, line {number}"
        label, corners = _box(line, origin, classes)
        boxes.append(corners)
        labels.append(label)
        origins.append(origin)
    corners_of_all = np.array(boxes, np.float64).reshape(-1, 4)
    return AnnotatedImage(path, corners_of_all, np.array(labels, np.int64), tuple(origins))


def _lines(path: Path) -> list[str]:
    try:
        return read_bytes(path).decode("utf-8-sig").splitlines()
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        raise DataError(f"{shown(path)} is not text: it holds a line for each box") from error
    except OSError as error:
        raise DataError(f"cannot read {shown(path)}: {error.strerror or error}") from error


def _box(line: str, origin: str, classes: tuple[str, ...]) -> tuple[int, list[float]]:
    """Return class and corners, in shares of width and height, of one line: a box, or an outline of points."""
    try:
        numbers = [float(word) for word in line.split()]
    except ValueError:
        numbers = []
    outline = len(numbers) > COLUMNS + 1 and len(numbers) % 2 == 1
    if (len(numbers) != COLUMNS and not outline) or not all(np.isfinite(numbers)):
        raise DataError(
            f"{origin}: {line.strip()[:60]!r} is not 'class x y width height' in shares of 1: mend it"
        )
    label = int(numbers[0])
    if label != numbers[0] or not 0 <= label < len(classes):
        raise DataError(f"{origin}: class {numbers[0]:g} is none of the {len(classes)} of `names`: mend it")
    if outline:
        across, down = numbers[1::2], numbers[2::2]
        return label, [min(across), min(down), max(across), max(down)]
    x, y, width, height = numbers[1:]
    return label, [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
