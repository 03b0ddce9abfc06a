"""Annotated images: files with the boxes of what is in them, as annotation files say it, and checks of both."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeprune.data.decode import CHUNK, LEFT_OUT, quiet_pool, read_size, shown
from edgeprune.data.layout import SUFFIXES
from edgeprune.errors import DataError

Size = tuple[int, int]  # (height, width) in pixels

ROUNDING = 1.0  # pixels by which a box may stand over the edge: annotation tools round
PARTS = ("train", "test", "val")


@dataclass(frozen=True)
class AnnotatedImage:
    """One image and what is in it.

    Attributes:
        path: its file.
        boxes: float64 (n, 4), x1, y1, x2, y2 in pixels of the file; of YOLO's layout in shares of width and height.
        labels: int64 (n,), positions in the list of classes.
        origins: says of each box where it stands, for messages.
        size: (height, width) by the annotation file, None where it does not say.
    """

    path: Path
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    origins: tuple[str, ...]
    size: Size | None = None


@dataclass(frozen=True)
class AnnotatedPart:
    """The images of one part, in a fixed order; ``relative`` says whether boxes are shares of width and height."""

    folder: Path
    source: str  # the annotation file, or the folder of them, for messages
    images: tuple[AnnotatedImage, ...]
    relative: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Annotated:
    """A data set of annotated images; ``test`` is None where there is no such part."""

    classes: tuple[str, ...]
    train: AnnotatedPart
    test: AnnotatedPart | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SizedPart:
    """Checked images of one part; boxes are in pixels of the files, and an image that is left out has none."""

    paths: tuple[Path, ...]
    left_out: NDArray[np.bool_]
    boxes: tuple[NDArray[np.float64], ...]
    labels: tuple[NDArray[np.int64], ...]


def sized(part: AnnotatedPart) -> SizedPart:
    """Read the size of every image from its header, and check that boxes lie in it.

    Raises:
        DataError: an image is missing or broken, or a box is empty or outside of its image; the message names it.
    """
    if not part.images:
        raise DataError(f"{part.source} names no images: add some")
    if not any(len(image.boxes) for image in part.images):
        raise DataError(f"{part.source} has no boxes: a detector needs some to learn from")
    left_out = np.array([_is_left_out(image, part) for image in part.images])
    present = [image for image, out in zip(part.images, left_out, strict=True) if not out]
    sizes = iter(_sizes([image.path for image in present]))
    boxes, labels = [], []
    for image, out in zip(part.images, left_out, strict=True):
        boxes.append(np.zeros((0, 4)) if out else _inside(image, next(sizes), part))
        labels.append(np.zeros(0, np.int64) if out else image.labels)
    return SizedPart(tuple(image.path for image in part.images), left_out, tuple(boxes), tuple(labels))


def _is_left_out(image: AnnotatedImage, part: AnnotatedPart) -> bool:
    """Return whether an image was renamed to be left out.

    Raises:
        DataError: it is not there at all.
    """
    if image.path.is_file():
        return False
    if image.path.with_name(image.path.name + LEFT_OUT).is_file():
        return True
    raise DataError(
        f"{part.source} names {shown(image.path)}, which is not there: restore it, or put an empty file "
        f"{shown(Path(image.path.name))}{LEFT_OUT} in its place to leave it out"
    )


def _sizes(paths: Sequence[Path]) -> tuple[Size, ...]:
    with quiet_pool() as pool:
        return tuple(pool.map(read_size, paths, chunksize=CHUNK))


def _inside(image: AnnotatedImage, size: Size, part: AnnotatedPart) -> NDArray[np.float64]:
    """Return the boxes in pixels of the file, cut off at its edges.

    Raises:
        DataError: a box is empty, or further outside than rounding explains.
    """
    height, width = size
    if image.size is not None and image.size != size:
        raise DataError(
            f"{part.source} says that {shown(image.path)} is {image.size[1]}x{image.size[0]} pixels, but it is "
            f"{width}x{height}: its boxes would be wrong; mend the file"
        )
    edges = np.array([width, height, width, height], np.float64)
    boxes = image.boxes * edges if part.relative else image.boxes
    for (x1, y1, x2, y2), origin in zip(boxes.tolist(), image.origins, strict=True):
        if x2 <= x1 or y2 <= y1:
            raise DataError(
                f"{origin}: the box is {_number(x2 - x1)} by {_number(y2 - y1)}, empty: remove it"
            )
        if min(x1, y1) < -ROUNDING or x2 > width + ROUNDING or y2 > height + ROUNDING:
            place = ", ".join(map(_number, (x1, y1, x2, y2)))
            raise DataError(
                f"{origin}: the box from ({place}) lies outside of its image of {width}x{height} pixels: mend it"
            )
    return np.clip(boxes, 0, edges)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def images_in(folder: Path) -> list[Path]:
    """Return the image files of a folder and those below, sorted; those that are left out under their own names."""
    files = {
        path.with_name(path.name.removesuffix(LEFT_OUT))
        for path in folder.rglob("*")
        if not path.name.startswith(".") and path.is_file()
    }
    return sorted(path for path in files if path.suffix.lower() in SUFFIXES)


def below(folder: Path, name: str, origin: str) -> Path:
    """Return the path of a file that an annotation file names.

    Args:
        folder: in which it is.
        name: as the annotation file says.
        origin: where it says so, for the message.

    Raises:
        DataError: the name leads out of the folder.
    """
    path = Path(name)
    if path.is_absolute() or ".." in path.parts:
        raise DataError(
            f"{origin}: {name[:80]!r} leads out of the data folder: name files below {shown(folder)}"
        )
    return folder / path
