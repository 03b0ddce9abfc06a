"""Examine every image of a folder before training starts: is it complete, how large, how many bits per channel?"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from edgeprune.data.decode import (
    CHUNK,
    LEFT_OUT,
    BrokenImage,
    PackedImage,
    Place,
    opened,
    quiet_pool,
    shown,
    size_of,
)
from edgeprune.data.depth import BY_MODE, Extent, extent_of, white_of
from edgeprune.errors import DataError
from edgeprune.processes.progress import ProgressCallback

Size = tuple[int, int]  # (height, width) in pixels
TAIL = 256  # bytes read from the end of a file
SHOWN = 3  # files in a message


@dataclass(frozen=True)
class Survey:
    """Sizes of all images, and the value of white of each kind that is deeper than 8 bits."""

    sizes: frozenset[Size]
    whites: dict[str, int]

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks on images of more than 8 bits whose value of white differs from what their format says."""
        return tuple(
            f"{kind} images use {white.bit_length()} bits: {white} is white"
            for kind, white in self.whites.items()
            if white not in (1, BY_MODE[kind])
        )


def survey(paths: Sequence[Place], progress: ProgressCallback | None = None) -> Survey:
    """Examine all files; where the format has an end marker, truncated files are recognised by its absence.

    Raises:
        DataError: files are broken (the message names them), or the range of their values is not known.
    """
    examined = examine(paths, progress)
    return survey_of([examined])


@dataclass(frozen=True)
class Examined:
    """What is known of some images: their sizes, and the extents of those that are deeper than 8 bits."""

    sizes: frozenset[Size]
    extents: tuple[Extent, ...]


def survey_of(parts: Iterable[Examined]) -> Survey:
    """Return the survey of all parts; raises DataError if the range of their values is not known."""
    sizes: set[Size] = set()
    extents: dict[str, list[Extent]] = {}
    for part in parts:
        sizes |= part.sizes
        for extent in part.extents:
            extents.setdefault(extent.kind, []).append(extent)
    return Survey(
        frozenset(sizes), {kind: white_of(kind, values) for kind, values in sorted(extents.items())}
    )


def examine(paths: Sequence[Place], progress: ProgressCallback | None = None) -> Examined:
    """Examine all images as `survey` does, for one of several parts.

    Raises:
        DataError: images are broken; the message names them.
    """
    sizes: set[Size] = set()
    extents: list[Extent] = []
    broken: list[BrokenImage] = []
    with quiet_pool() as pool:
        for chunk in pool.map(partial(_examine_chunk, paths), range(0, len(paths), CHUNK)):
            sizes |= chunk.sizes
            broken += chunk.broken
            extents += chunk.extents
            if progress:
                progress(chunk.done, len(paths), "checking images")
    if broken:
        raise _all_broken(broken)
    return Examined(frozenset(sizes), tuple(extents))


@dataclass(frozen=True)
class _Chunk:
    done: int
    sizes: set[Size]
    extents: list[Extent]
    broken: list[BrokenImage]


def _examine_chunk(paths: Sequence[Place], start: int) -> _Chunk:
    chunk = _Chunk(min(start + CHUNK, len(paths)), set(), [], [])
    for path in paths[start : start + CHUNK]:
        try:
            with opened(path) as image:
                chunk.sizes.add(size_of(image))
                extent = extent_of(image)
                if extent:
                    chunk.extents.append(extent)
                elif not _ends_well(path, image.format or ""):
                    image.load()
        except BrokenImage as error:
            chunk.broken.append(error)
    return chunk


def _ends_well(path: Place, image_format: str) -> bool:
    """Return whether the image has its format's end marker; if not, only decoding shows whether it is complete."""
    head, tail, size = _ends(path)
    if image_format in ("JPEG", "MPO"):
        return b"\xff\xd9" in tail
    if image_format == "PNG":
        return b"IEND\xaeB`\x82" in tail
    if image_format == "GIF":
        return tail.rstrip(b"\0").endswith(b";")
    return image_format == "WEBP" and int.from_bytes(head[4:8], "little") + 8 <= size


def _ends(path: Place) -> tuple[bytes, bytes, int]:
    """Return the first bytes of an image, the last ones, and the number of all."""
    if isinstance(path, PackedImage):
        content = path.read()
        return content[:12], content[-TAIL:], len(content)
    with path.open("rb") as file:
        head = file.read(12)
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL))
        return head, file.read(), size


def _all_broken(broken: list[BrokenImage]) -> DataError:
    if len(broken) == 1:
        return broken[0]
    names = ", ".join(f"{shown(error.path)} ({error.reason})" for error in broken[:SHOWN])
    more = f" and {len(broken) - SHOWN} more" if len(broken) > SHOWN else ""
    if isinstance(broken[0].path, PackedImage):
        return DataError(f"{len(broken)} broken images: {names}{more}: {broken[0].path.remedy}")
    return DataError(
        f"{len(broken)} broken images: {names}{more}: replace them, "
        f"or add {LEFT_OUT} to their names to leave them out"
    )
