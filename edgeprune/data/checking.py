"""Examine every image of a folder before training starts: is it complete, how large, how many bits per channel?"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.data.decode import CHUNK, LEFT_OUT, BrokenImage, opened, quiet_pool, shown, size_of
from edgeprune.data.depth import BY_MODE, Extent, extent_of, white_of
from edgeprune.errors import DataError
from edgeprune.processes.progress import ProgressCallback

if TYPE_CHECKING:
    pass

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


def survey(paths: Sequence[Path], progress: ProgressCallback | None = None) -> Survey:
    """Examine all files; where the format has an end marker, truncated files are recognised by its absence.

    Raises:
        DataError: files are broken (the message names them), or the range of their values is not known.
    """
    sizes: set[Size] = set()
    extents: dict[str, list[Extent]] = {}
    broken: list[BrokenImage] = []
    with quiet_pool() as pool:
        for chunk in pool.map(partial(_examine_chunk, paths), range(0, len(paths), CHUNK)):
            sizes |= chunk.sizes
            broken += chunk.broken
            for extent in chunk.extents:
                extents.setdefault(extent.kind, []).append(extent)
            if progress:
                progress(chunk.done, len(paths), "checking images")
    if broken:
        raise _all_broken(broken)
    whites = {kind: white_of(kind, values) for kind, values in sorted(extents.items())}
    return Survey(frozenset(sizes), whites)


@dataclass(frozen=True)
class _Chunk:
    done: int
    sizes: set[Size]
    extents: list[Extent]
    broken: list[BrokenImage]


def _examine_chunk(paths: Sequence[Path], start: int) -> _Chunk:
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


def _ends_well(path: Path, image_format: str) -> bool:
    """Return whether the file has its format's end marker; if not, only decoding shows whether it is complete."""
    with path.open("rb") as file:
        head = file.read(12)
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL))
        tail = file.read()
    if image_format in ("JPEG", "MPO"):
        return b"\xff\xd9" in tail
    if image_format == "PNG":
        return b"IEND\xaeB`\x82" in tail
    if image_format == "GIF":
        return tail.rstrip(b"\0").endswith(b";")
    return image_format == "WEBP" and int.from_bytes(head[4:8], "little") + 8 <= size


def _all_broken(broken: list[BrokenImage]) -> DataError:
    if len(broken) == 1:
        return broken[0]
    names = ", ".join(f"{shown(error.path)} ({error.reason})" for error in broken[:SHOWN])
    more = f" and {len(broken) - SHOWN} more" if len(broken) > SHOWN else ""
    return DataError(
        f"{len(broken)} broken images: {names}{more}: replace them, "
        f"or add {LEFT_OUT} to their names to leave them out"
    )
