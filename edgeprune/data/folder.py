"""A folder of images as a data source: small ones of one size in memory, others read file by file."""

from functools import partial
from pathlib import Path

from torch import Tensor

from edgeprune.data.augment import RGB_MEAN, RGB_STD
from edgeprune.data.decode import OddSize, Progress, decode_all, read_sizes
from edgeprune.data.images import FileImages, Images, MemoryImages
from edgeprune.data.layout import Layout, Listing, scan
from edgeprune.data.source import ReadOptions, Source, fingerprint_of

Size = tuple[int, int]  # (height, width) in pixels

SMALL_SIDE = 96  # pixels: up to here a random crop is a shift, as for CIFAR; above, a resized box
MEMORY_LIMIT_BYTES = 1_500_000_000
PROBED = 200  # headers read to guess whether all images are of one size
CHECKED = 20_000  # headers read at most before training on files: some 3 s
DEFAULT_SIDE = 224


def read_folder(folder: Path, options: ReadOptions) -> Source:
    """Read a folder of images; small ones of one size into memory, others file by file.

    Raises DataError for a folder that is missing, empty, half a data set, or with broken images.
    """
    layout = scan(folder)
    native = _stored_size(options.stored) if options.stored else _common_size(layout)
    train, test, native = _images(layout, native, options)
    side = options.image_size or DEFAULT_SIDE
    given = (side, side) if options.image_size or not native else native
    return Source(
        name=folder.name,
        classes=layout.train.classes,
        shape=(3, *given),
        mean=RGB_MEAN,
        std=RGB_STD,
        train=train,
        test=test,
        fingerprint=fingerprint_of(str(path.relative_to(folder)) for path in layout.paths),
        notes=layout.notes + _size_notes(native, given),
        native=native,
    )


def _images(
    layout: Layout, native: Size | None, options: ReadOptions
) -> tuple[Images, Images | None, Size | None]:
    """Train and test images, and the size at which they are in memory (None: they are not)."""
    if native is None:
        return *_from_files(layout, options.image_size or DEFAULT_SIDE), None
    train, test = _in_memory(layout, native, options)
    if options.stored:
        return train, test, native
    try:
        train.prepare()
        if test:
            test.prepare()
    except OddSize:
        return *_from_files(layout, options.image_size or DEFAULT_SIDE), None
    return train, test, native


def _in_memory(
    layout: Layout, native: Size, options: ReadOptions
) -> tuple[MemoryImages, MemoryImages | None]:
    given = (options.image_size, options.image_size) if options.image_size else native

    def images(part: Listing) -> MemoryImages:
        text = f"reading {part.folder.name}"
        read = partial(_decode, part, native, options.progress, text)
        return MemoryImages(part.labels, read, size=given, pad=max(1, min(native) // 8), flip=True)

    return images(layout.train), images(layout.test) if layout.test else None


def _decode(part: Listing, native: Size, progress: Progress | None, text: str) -> Tensor:
    return decode_all(part.paths, native, progress=progress, text=text)


def _from_files(layout: Layout, side: int) -> tuple[FileImages, FileImages | None]:
    read_sizes(_spread(layout.paths, CHECKED))  # finds a broken file now rather than hours later
    test = FileImages(layout.test.labels, layout.test.paths, side) if layout.test else None
    return FileImages(layout.train.labels, layout.train.paths, side), test


def _common_size(layout: Layout) -> Size | None:
    """The size of all images, guessed from some, if they can be held in memory; else None."""
    sizes = read_sizes(_spread(layout.paths, PROBED))
    if len(sizes) > 1:
        return None
    height, width = sizes.pop()
    fits = len(layout.paths) * 3 * height * width <= MEMORY_LIMIT_BYTES
    return (height, width) if max(height, width) <= SMALL_SIDE and fits else None


def _spread(paths: tuple[Path, ...], count: int) -> tuple[Path, ...]:
    """At most ``count`` of the paths, evenly spaced."""
    return paths[:: max(1, -(-len(paths) // count))]


def _stored_size(stored: dict) -> Size | None:
    native = stored["native_size"]
    return (native[0], native[1]) if native else None


def _size_notes(native: Size | None, given: Size) -> tuple[str, ...]:
    if native is not None:
        return ()
    return (f"images are cropped to {given[0]}x{given[1]} as they are read; image_size changes that",)
