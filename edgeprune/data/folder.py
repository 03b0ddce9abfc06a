"""Read a folder of images: small images of one size into memory where they fit, others file by file."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgeprune.data.augment import RGB_MEAN, RGB_STD
from edgeprune.data.checking import Survey, survey
from edgeprune.data.decode import BrokenImage, OddSize, Place, decode_all, decode_some, read_sizes
from edgeprune.data.depth import BY_MODE, Rendering, UnknownWhite
from edgeprune.data.images import FileImages, Images, MemoryImages, SmallFileImages
from edgeprune.data.layout import Layout, Listing, scan
from edgeprune.data.memory import free_memory
from edgeprune.data.paths import PackedPaths
from edgeprune.data.source import ReadOptions, Source, fingerprint_of
from edgeprune.data.targets import Labels, Targets
from edgeprune.errors import DataError
from edgeprune.processes.distributed import local_size
from edgeprune.processes.progress import ProgressCallback

Size = tuple[int, int]  # (height, width) in pixels

SMALL_SIDE = 96  # pixels: up to here a random crop is a shift, as for CIFAR; above, a resized box
MEMORY_SHARE = 0.5  # of the free memory, that images may take
PROBED = 200  # headers that are read to guess whether all images are of one size
DEFAULT_SIDE = 224


def read_folder(folder: Path, options: ReadOptions) -> Source:
    """Read a folder of images: small images of one size into memory, others file by file.

    Raises:
        DataError: the folder is missing, empty, half a data set, or has broken images.
    """
    layout = scan(folder)
    return read_layout(folder, layout, options, layout.train.classes, lambda part: Labels(part.labels))


def read_layout(
    folder: Path,
    layout: Layout,
    options: ReadOptions,
    classes: tuple[str, ...],
    targets_of: Callable[[Listing], Targets],
    default_side: int = DEFAULT_SIDE,
    examined: Survey | None = None,
) -> Source:
    """Read the images of files that were found, with targets of any kind.

    Args:
        folder: that holds them all.
        layout: the files.
        options: how to read.
        classes: names.
        targets_of: returns the targets of the images of a part.
        default_side: in pixels, to which images of several sizes are brought where nothing is said.
        examined: what is known of the images, where they need not be examined again.

    Raises:
        DataError: there are broken images.
    """
    side = options.image_size or default_side
    files = _Files(layout, targets_of, side, examined)
    images = _stored(files, options) if options.stored else _examined(files, options)
    size = (side, side) if options.image_size or not images.native else images.native
    test_left_out = layout.test.left_out if layout.test else np.zeros(0, bool)
    return Source(
        name=folder.name,
        classes=classes,
        shape=(3, *size),
        mean=RGB_MEAN,
        std=RGB_STD,
        train=images.train,
        test=images.test,
        fingerprint=fingerprint_of(_name_in(folder, path) for path in layout.paths),
        notes=layout.notes + images.notes + _size_notes(images, size),
        native=images.native,
        rendering=images.rendering,
        left_out=(layout.train.left_out, test_left_out),
    )


@dataclass(frozen=True)
class _Files:
    """Files of images, the targets of each part, and the side to which images of several sizes are brought."""

    layout: Layout
    targets_of: Callable[[Listing], Targets]
    side: int
    survey: Survey | None = None


@dataclass(frozen=True)
class _Parts:
    """Train and test images, how they are decoded, and the size that all have (None if they have several)."""

    train: Images
    test: Images | None
    rendering: Rendering
    native: Size | None
    in_memory: bool
    notes: tuple[str, ...] = ()


def _stored(files: _Files, options: ReadOptions) -> _Parts:
    """Return the images of an existing run; they were examined when it began, and are decoded at first use."""
    stored = options.stored or {}
    native = stored["native_size"]
    # Runs of earlier versions have no such keys, and keep their rendering.
    rendering = Rendering(stored.get("whites", BY_MODE), stored.get("as_shown", False))
    return _parts(files, (native[0], native[1]) if native else None, rendering, options)


def _examined(files: _Files, options: ReadOptions) -> _Parts:
    """Return the images of a new run: all are decoded into memory, or checked one by one."""
    layout = files.layout
    native = _common_size(layout) if files.survey is None else _small(files.survey.sizes)
    if files.survey is None and native is not None and _in_memory(layout, native, options):
        try:
            parts = _parts(files, native, Rendering({}), options)
            parts.train.prepare()
            if parts.test:
                parts.test.prepare()
        except (OddSize, UnknownWhite):
            pass
        except BrokenImage:
            survey(layout.usable, options.progress)  # its error names all broken files, not only the first
            raise
        else:
            return parts
    checked = files.survey or survey(layout.usable, options.progress)
    rendering = Rendering(checked.whites)
    parts = _parts(files, native if len(checked.sizes) == 1 else None, rendering, options)
    if options.in_memory and not parts.in_memory:
        raise DataError(
            f"images of several sizes, or of more than {SMALL_SIDE} pixels, are always read from their files: leave "
            "`in_memory` out"
        )
    return replace(parts, notes=checked.notes)


def _parts(files: _Files, native: Size | None, rendering: Rendering, options: ReadOptions) -> _Parts:
    layout = files.layout
    in_memory = native is not None and _in_memory(layout, native, options)

    def images(part: Listing) -> Images:
        targets = files.targets_of(part)
        if native is None:
            return FileImages(targets, _packed(part.paths), files.side, rendering)
        size = (options.image_size, options.image_size) if options.image_size else native
        pad = max(1, min(native) // 8)
        if in_memory:
            read = partial(_decode, part, native, rendering, options.progress)
            return MemoryImages(targets, read, size=size, pad=pad, flip=True)
        decode = partial(decode_some, size=native, rendering=rendering)
        return SmallFileImages(targets, _packed(part.paths), decode, size=size, pad=pad, flip=True)

    test = images(layout.test) if layout.test else None
    return _Parts(images(layout.train), test, rendering, native, in_memory)


def _packed(paths: Sequence[Any]) -> Sequence[Place]:
    """Return places in little memory, which readers of shards and tables give by themselves."""
    return PackedPaths(paths) if isinstance(paths, tuple) else paths


def _name_in(folder: Path, place: Place) -> str:
    return str(place.relative_to(folder)) if isinstance(place, Path) else place.identity


def _decode(part: Listing, native: Size, rendering: Rendering, progress: ProgressCallback | None) -> Tensor:
    """Decode all pixels of a part; images that are left out are black."""
    text = f"reading {part.folder.name}"
    pixels = decode_all(part.usable, native, rendering=rendering, progress=progress, text=text)
    if not part.left_out.any():
        return pixels
    all_pixels = torch.zeros(len(part.paths), *pixels.shape[1:], dtype=torch.uint8)
    all_pixels[torch.from_numpy(~part.left_out)] = pixels
    return all_pixels


def _common_size(layout: Layout) -> Size | None:
    """Return the size of all images, guessed from a sample, if they are small; else None."""
    return _small(read_sizes(_spread(layout.usable, PROBED)))


def _small(sizes: Collection[Size]) -> Size | None:
    """Return the size that all images have, if it is one, and small."""
    if len(sizes) > 1:
        return None
    height, width = next(iter(sizes))
    return (height, width) if max(height, width) <= SMALL_SIDE else None


def _in_memory(layout: Layout, native: Size, options: ReadOptions) -> bool:
    """Return whether images are decoded into memory: where they fit, with those of other processes on this machine."""
    if options.in_memory is not None:
        return options.in_memory
    return local_size() * _pixel_bytes(layout, native) <= MEMORY_SHARE * free_memory()


def _pixel_bytes(layout: Layout, native: Size) -> int:
    return len(layout) * 3 * native[0] * native[1]


def _spread(paths: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    """Return at most ``count`` of the paths, evenly spaced."""
    return paths[:: max(1, -(-len(paths) // count))]


def _size_notes(parts: _Parts, size: Size) -> tuple[str, ...]:
    if parts.in_memory:
        return ()
    if parts.native is not None:
        return (
            "images are read from their files for each batch, not held in memory; in_memory changes that",
        )
    changed = "resized" if parts.train.targets.spatial else "cropped"
    return (f"images are {changed} to {size[0]}x{size[1]} as they are read; image_size changes that",)
