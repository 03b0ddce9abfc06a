"""Finding images: DIR/train/CLASS/* with DIR/test or DIR/val, or DIR/CLASS/* alone."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeprune.errors import DataError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif"}


@dataclass(frozen=True)
class Listing:
    """The files of one part of a data set, class by class in the order of ``classes``."""

    folder: Path
    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: np.ndarray


@dataclass(frozen=True)
class Layout:
    """Train and test files; ``test`` is None where the folder has no such part."""

    train: Listing
    test: Listing | None
    notes: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files of both parts."""
        return self.train.paths + (self.test.paths if self.test else ())


def scan(folder: Path) -> Layout:
    """Find classes and files, without opening any; DataError says what is missing."""
    if not folder.exists():
        raise DataError(f"no such data folder: {folder}")
    if not folder.is_dir():
        raise DataError(f"{folder} is a file: give the folder that holds train/CLASS/* or CLASS/*")
    parts = {name for name in ("train", "test", "val") if (folder / name).is_dir()}
    if not parts:
        return Layout(listing(folder), None)
    if "train" not in parts:
        raise DataError(f"{folder} has {sorted(parts)[0]}/ but no train/: put the training images there")
    if parts == {"train"}:
        raise DataError(
            f"{folder} has train/ but neither test/ nor val/: add one, "
            f"or give {folder / 'train'} to have a fifth of it held out"
        )
    held = "test" if "test" in parts else "val"
    notes = (f"{folder / 'val'} is not used: validation images are taken from train/",)
    layout = Layout(listing(folder / "train"), listing(folder / held), notes if len(parts) == 3 else ())
    _check_same_classes(layout)
    return layout


def listing(folder: Path) -> Listing:
    """The classes (sub-folders, sorted) of ``folder`` and their images; DataError if there are none."""
    try:
        classes = sorted(entry.name for entry in folder.iterdir() if _visible(entry.name) and entry.is_dir())
        files = [_images_below(folder / name) for name in classes]
    except OSError as error:
        raise DataError(f"cannot read {error.filename or folder}: {error.strerror}") from error
    if not classes:
        raise DataError(f"{folder} has no class folders: images belong in {folder}/CLASS/")
    for name, found in zip(classes, files, strict=True):
        if not found:
            raise DataError(f"no images in {folder / name}: add some, or remove that class folder")
    if len(classes) == 1:
        raise DataError(f"{folder} has only one class, {classes[0]!r}: at least two are needed")
    labels = np.repeat(np.arange(len(classes)), [len(found) for found in files])
    return Listing(folder, tuple(classes), tuple(path for found in files for path in found), labels)


def _images_below(folder: Path) -> list[Path]:
    found = []
    for parent, _, names in os.walk(folder, followlinks=True, onerror=_raise):
        found += [
            Path(parent) / name
            for name in names
            if _visible(name) and os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122
        ]
    return sorted(found)


def _raise(error: OSError) -> None:
    raise error


def _visible(name: str) -> bool:
    return not name.startswith((".", "__"))


def _check_same_classes(layout: Layout) -> None:
    assert layout.test is not None
    train, test = set(layout.train.classes), set(layout.test.classes)
    if train == test:
        return
    missing = [f"{name!r} only in {layout.train.folder.name}/" for name in sorted(train - test)]
    missing += [f"{name!r} only in {layout.test.folder.name}/" for name in sorted(test - train)]
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    raise DataError(
        f"train and test classes differ in {layout.train.folder.parent}: {', '.join(missing[:3])}{more}"
    )
