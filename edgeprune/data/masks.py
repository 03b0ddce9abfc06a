"""Read a folder of images and masks: DIR/train/images/*, DIR/train/masks/*.png, and test/ or val/ likewise."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from edgeprune.data.decode import CHUNK, LEFT_OUT, BrokenImage, opened, quiet_pool, read_size, shown
from edgeprune.data.folder import read_layout
from edgeprune.data.layout import SUFFIXES, Layout, Listing, parts_of, scan
from edgeprune.data.names import NAMES, class_names
from edgeprune.data.source import ReadOptions, Source
from edgeprune.data.targets import IGNORED, Masks, Targets
from edgeprune.errors import DataError
from edgeprune.processes.progress import ProgressCallback

FORM = "train/images/*, train/masks/*.png and test/ likewise"
KEPT_BYTES = 1 << 30  # of small masks that are kept in memory


def holds_masks(folder: Path) -> bool:
    """Return whether a folder is of images and masks."""
    part = folder / "train" if "train" in parts_of(folder) else folder
    return (part / "images").is_dir() and (part / "masks").is_dir()


def read_masked(folder: Path, options: ReadOptions) -> Source:
    """Read a folder of images, each with an index mask of the same name and size.

    Class names come from classes.txt, else they are the masks' values; 255 stands for pixels that do not count.

    Raises:
        DataError: an image has no mask, a mask has another size, no index, or a class that has no name.
    """
    layout = scan(folder, _listing, FORM)
    names = _class_names(folder)
    stored = options.stored or {}
    if stored:
        classes = tuple(stored.get("classes") or names or ())
    else:
        values = _checked_values(layout, names, options.progress)
        classes = names or tuple(str(value) for value in range(len(values)))
    return read_layout(folder, layout, options, classes, _targets)


def _listing(folder: Path) -> Listing:
    """Return the images of a part that have a mask."""
    for name in ("images", "masks"):
        if not (folder / name).is_dir():
            raise DataError(f"{folder} has no {name}/: images and masks belong in {FORM}")
    try:
        entries = sorted(os.listdir(folder / "images"))  # noqa: PTH208
        masks = set(os.listdir(folder / "masks"))  # noqa: PTH208
    except OSError as error:
        raise DataError(f"cannot read {shown(Path(error.filename or folder))}: {error.strerror}") from error
    left_out: dict[str, bool] = {}
    for entry in entries:
        name = entry.removesuffix(LEFT_OUT)
        if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
            left_out[name] = left_out.get(name, True) and name != entry
    if all(left_out.values()):
        raise DataError(f"no images in {shown(folder / 'images')}: add some")
    images = sorted(left_out)
    for name in images:
        if not left_out[name] and f"{Path(name).stem}.png" not in masks:
            raise DataError(
                f"{shown(folder / 'images' / name)} has no mask: put it into "
                f"{shown(folder / 'masks' / (Path(name).stem + '.png'))}, or rename the image to "
                f"{shown(Path(name))}{LEFT_OUT} to leave it out"
            )
    paths = tuple(folder / "images" / name for name in images)
    flags = np.array([left_out[name] for name in images], dtype=bool)
    return Listing(folder, (), paths, np.zeros(len(paths), np.int64), flags)


def _mask_of(image: Path) -> Path:
    return image.parents[1] / "masks" / f"{image.stem}.png"


def _class_names(folder: Path) -> tuple[str, ...]:
    """Return the names in classes.txt, empty without it; a mask has room for so many."""
    names = class_names(folder)
    if len(names) > IGNORED:
        raise DataError(f"{folder / NAMES} holds {len(names)} names: a mask has at most {IGNORED} classes")
    return names


def _checked_values(layout: Layout, names: tuple[str, ...], progress: ProgressCallback | None) -> list[int]:
    """Examine every mask and return the values they hold, `IGNORED` aside.

    Raises:
        DataError: a mask does not fit its image or the classes; the message names it.
    """
    images, values = layout.usable, set[int]()
    with quiet_pool() as pool:
        for done, seen in pool.map(partial(_examine, images, names), range(0, len(images), CHUNK)):
            values |= seen
            if progress:
                progress(done, len(images), "checking masks")
    classes = sorted(values - {IGNORED})
    if not names and classes != list(range(len(classes))):
        listed = ", ".join(map(str, classes[:8])) + (" ..." if len(classes) > 8 else "")
        raise DataError(
            f"the masks hold the values {listed}, not 0, 1, 2 ... without a gap: write the names of all classes "
            f"into {NAMES}, one a line, or number the masks' classes anew"
        )
    if not names and len(classes) < 2:
        raise DataError(
            f"the masks hold only class {classes[0] if classes else IGNORED} beside {IGNORED}, which is ignored: "
            "at least two classes are needed; where 255 stands for an object, write 1"
        )
    return classes


def _examine(images: Sequence[Path], names: tuple[str, ...], start: int) -> tuple[int, set[int]]:
    stop, values = min(start + CHUNK, len(images)), set[int]()
    for path in images[start:stop]:
        mask, (height, width) = _read(_mask_of(path)), read_size(path)
        if mask.shape != (height, width):
            raise DataError(
                f"{shown(_mask_of(path))} is {mask.shape[1]}x{mask.shape[0]} pixels, its image {width}x{height}: "
                "a mask has a pixel for each of the image's"
            )
        seen = set(np.unique(mask).tolist())
        unknown = sorted(value for value in seen - {IGNORED} if names and value >= len(names))
        if unknown:
            raise DataError(
                f"{shown(_mask_of(path))} holds class {unknown[0]}, and {NAMES} has {len(names)} names, 0 to "
                f"{len(names) - 1}: add its name, or write {IGNORED} where pixels do not count"
            )
        values |= seen
    return stop, values


def _read(path: Path) -> np.ndarray:
    """Return a mask's values, uint8 (H, W).

    Raises:
        DataError: it is broken, is a colour image, or holds values above 255.
    """
    with opened(path) as image:
        if image.mode not in ("L", "P", "1", "I", "I;16"):
            raise DataError(
                f"{shown(path)} is a colour image ({image.mode}): a mask is a PNG of one channel, whose values are "
                "the classes' numbers"
            )
        values = np.asarray(image)
    if values.size and int(values.max()) > IGNORED:
        raise DataError(
            f"{shown(path)} holds the value {int(values.max())}: a mask's values go up to {IGNORED}"
        )
    return values.astype(np.uint8)


def _targets(part: Listing) -> Targets:
    kept: dict[int, Tensor] = {}
    room = KEPT_BYTES // max(1, len(part.paths))

    def read(position: int) -> Tensor:
        if position not in kept:
            path = _mask_of(part.paths[position])
            try:
                mask = torch.from_numpy(_read(path))
            except BrokenImage as error:
                raise DataError(f"broken mask {shown(path)} ({error.reason}): write it again") from error
            if mask.numel() > room or get_worker_info() is not None:  # each worker would keep all of them
                return mask
            kept[position] = mask
        return kept[position]

    return Masks(len(part.paths), read, slow=True)
