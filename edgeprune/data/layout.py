"""Find images: DIR/train/CLASS/* with DIR/test or DIR/val, or DIR/CLASS/* alone."""

import os
import stat
import unicodedata
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.data.decode import LEFT_OUT, shown
from edgeprune.errors import DataError

PARTS = ("train", "test", "val")
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif"}
# Images of other kinds, which users may expect to be read.
UNREAD = {".avif", ".dcm", ".exr", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jxl", ".npy", ".tga"}
FolderIdentity = tuple[int, int]  # device and inode


@dataclass(frozen=True)
class Listing:
    """The files of one part of a data set; of labelled images class by class in the order of ``classes``.

    ``left_out[i]`` says that ``paths[i]`` was renamed to be left out: it keeps its position, but is not read.
    """

    folder: Path
    classes: tuple[str, ...]
    paths: Sequence[Any]  # of Path, or of another `Place` where one was read
    labels: np.ndarray
    left_out: np.ndarray
    unread: Counter[str] = field(default_factory=Counter)

    @property
    def usable(self) -> Sequence[Any]:
        """The files to read."""
        if not self.left_out.any():
            return self.paths
        return tuple(path for path, out in zip(self.paths, self.left_out, strict=True) if not out)


@dataclass(frozen=True)
class Layout:
    """Train and test files; ``test`` is None where the folder has no such part."""

    train: Listing
    test: Listing | None
    notes: tuple[str, ...] = ()

    @property
    def paths(self) -> Iterator[Any]:
        """All files of both parts."""
        return chain(self.train.paths, self.test.paths if self.test else ())

    @property
    def usable(self) -> tuple[Any, ...]:
        """The files of both parts to read."""
        return (*self.train.usable, *(self.test.usable if self.test else ()))

    def __len__(self) -> int:
        """Return the number of files of both parts."""
        return len(self.train.paths) + (len(self.test.paths) if self.test else 0)


def parts_of(folder: Path) -> set[str]:
    """Return which of train, test and val are folders in ``folder``."""
    return {name for name in PARTS if (folder / name).is_dir()}


def scan(
    folder: Path, listed: Callable[[Path], Listing] | None = None, form: str = "train/CLASS/* or CLASS/*"
) -> Layout:
    """Find classes and files without opening any.

    Args:
        folder: with train/ and test/ (or val/), or without parts.
        listed: returns the files of a part; `listing` by default.
        form: how files lie in the folder, for messages.

    Raises:
        DataError: the folder or a part of it is missing, or train and test classes differ.
    """
    if not folder.exists():
        raise DataError(f"no such data folder: {folder}")
    if not folder.is_dir():
        raise DataError(f"{folder} is a file: give the folder that holds {form}")
    listed, parts = listed or listing, parts_of(folder)
    if not parts:
        train = listed(folder)
        return Layout(train, None, _notes(train))
    if "train" not in parts:
        raise DataError(f"{folder} has {sorted(parts)[0]}/ but no train/: put the training images there")
    if parts == {"train"}:
        raise DataError(
            f"{folder} has train/ but neither test/ nor val/: add one, "
            f"or give {folder / 'train'} to have a fifth of it held out"
        )
    held = "test" if "test" in parts else "val"
    notes: tuple[str, ...] = ()
    if len(parts) == 3:
        notes = (f"{folder / 'val'} is not used: validation images are taken from train/",)
    if (folder / "train").samefile(folder / held):
        notes += (f"{held}/ is the same folder as train/: accuracy will be that of training images",)
    train, test = listed(folder / "train"), listed(folder / held)
    layout = Layout(train, test, notes + _notes(train, test))
    _check_same_classes(layout)
    return layout


def _notes(*parts: Listing) -> tuple[str, ...]:
    left_out = sum(int(part.left_out.sum()) for part in parts)
    unread = sum((part.unread for part in parts), Counter[str]())
    notes = []
    if left_out:
        notes.append(f"{left_out} images are left out, since {LEFT_OUT} was added to their names")
    if unread:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(unread.items()))
        notes.append(f"images of these kinds are not read: {kinds}")
    return tuple(notes)


def listing(folder: Path) -> Listing:
    """Return the classes (sub-folders, sorted) of ``folder`` and their images.

    Raises:
        DataError: there are no classes or no images, a class name cannot be printed, or two classes share images.
    """
    try:
        classes = sorted(entry.name for entry in folder.iterdir() if _visible(entry.name) and entry.is_dir())
        _check_names(folder, classes)
        owners: dict[FolderIdentity, str] = {}
        walks = [_Walk(folder, name, owners) for name in classes]
    except OSError as error:
        place = shown(Path(error.filename or folder))
        raise DataError(f"cannot read {place}: {error.strerror}") from error
    if not classes:
        parts = "" if folder.name in PARTS else ", or in train/CLASS/ and test/CLASS/ there"
        raise DataError(f"{folder} has no class folders: images belong in {folder}/CLASS/{parts}")
    for walk in walks:
        walk.check()
    if len(classes) == 1:
        raise DataError(f"{folder} has only one class, {classes[0]!r}: at least two are needed")
    labels = np.repeat(np.arange(len(classes)), [len(walk.images) for walk in walks])
    paths = tuple(path for walk in walks for path in sorted(walk.images))
    left_out = np.array([walk.images[path] for walk in walks for path in sorted(walk.images)], dtype=bool)
    unread = sum((walk.unread for walk in walks), Counter[str]())
    return Listing(folder, tuple(classes), paths, labels, left_out, unread)


def _check_names(folder: Path, classes: list[str]) -> None:
    """Refuse class names that cannot be printed: they are written to JSON, tables and plots."""
    for name in classes:
        # Bytes that are not UTF-8 are lone surrogates (Cs) here; Cc are control characters.
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
            raise DataError(
                f"the name of the class folder {shown(folder / name)} cannot be printed as UTF-8: rename it"
            )


class _Walk:
    """The images of one class, in its folder and those below; links are followed, each folder once.

    ``images`` maps each path to whether it is left out. A folder belongs to one class: ``owners`` maps the
    folders of earlier classes to those classes.
    """

    def __init__(self, folder: Path, name: str, owners: dict[FolderIdentity, str]) -> None:
        self.folder, self.name, self._owners = folder / name, name, owners
        self.images: dict[Path, bool] = {}
        self.unread: Counter[str] = Counter()
        # A link to the folder of all classes, or to one that holds it, would give this class all images.
        self._seen = {_identity(place) for place in (folder.resolve(), *folder.resolve().parents)}
        waiting = deque([self.folder])
        while waiting:
            waiting += self._enter(waiting.popleft())

    def _enter(self, folder: Path) -> list[Path]:
        """Collect the images of one folder and return its sub-folders."""
        identity = _identity(folder)
        if identity in self._seen:
            return []
        self._seen.add(identity)
        owner = self._owners.setdefault(identity, self.name)
        if owner != self.name:
            raise DataError(
                f"{shown(folder)} is a link to images of class {owner!r}: an image belongs to one class only"
            )
        with os.scandir(folder) as scanned:
            # If a folder is reached twice, its own path is used rather than a link's, on every file system.
            entries = sorted(scanned, key=lambda entry: (entry.is_symlink(), entry.name))
        folders = [Path(entry.path) for entry in entries if entry.is_dir()]
        for entry in entries:
            if _visible(entry.name) and not entry.is_dir():
                self._take(entry)
        return folders

    def _take(self, entry: os.DirEntry[str]) -> None:
        name = entry.name.removesuffix(LEFT_OUT)
        suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
        if suffix not in SUFFIXES:
            self.unread.update([suffix] if suffix in UNREAD else [])
            return
        path = Path(entry.path.removesuffix(LEFT_OUT))
        if name == entry.name:
            _check_is_file(entry)
            self.images[path] = False  # a readable file of the same name takes precedence
        else:
            self.images.setdefault(path, True)

    def check(self) -> None:
        """Raise DataError if there is no image to read."""
        if all(self.images.values()):
            kinds = ", ".join(sorted(self.unread))
            why = f" (its {kinds} files are of kinds that are not read)" if kinds else ""
            raise DataError(f"no images in {shown(self.folder)}{why}: add some, or remove that class folder")


def _identity(folder: Path) -> FolderIdentity:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _check_is_file(entry: os.DirEntry[str]) -> None:
    """Refuse fifos and devices, whose reading may block forever; a broken link is reported when it is read."""
    if entry.is_file():
        return
    try:
        mode = entry.stat().st_mode
    except OSError:
        return
    kinds = {stat.S_IFIFO: "a fifo", stat.S_IFSOCK: "a socket"}
    kind = kinds.get(stat.S_IFMT(mode), "a device")
    raise DataError(f"{shown(Path(entry.path))} is {kind}, not an image file: remove it")


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
