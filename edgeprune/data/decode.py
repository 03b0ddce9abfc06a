"""Decode image files to uint8 pixels; every broken file becomes an error that names it."""

import io
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from edgeprune.data.depth import Rendering, UnknownWhite, to_8_bits
from edgeprune.errors import DataError
from edgeprune.processes.progress import ProgressCallback

if TYPE_CHECKING:
    from PIL.Image import Image

Job = TypeVar("Job")
Result = TypeVar("Result")

CHUNK = 256  # images per task of the thread pool: large enough that handing out tasks costs nothing
# Of what Pillow can read: EPS and its like start other programs.
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "PPM", "GIF")
LEFT_OUT = ".broken"  # added to a file's name to leave it out without a change of the run's splits
_ORIENTATION = 0x0112  # EXIF's tag
# Pillow's Image.Transpose for each orientation that is not upright; those from 5 on swap width and height.
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}


class PackedImage:
    """An encoded image that is not a file of its own: a member of a shard, or a row of a table."""

    __slots__ = ()
    remedy: ClassVar[str]  # what to do where it is broken

    def __str__(self) -> str:
        """Return where it is, for messages."""
        raise NotImplementedError

    @property
    def identity(self) -> str:
        """Its name in the data set, wherever that lies."""
        raise NotImplementedError

    def read(self) -> bytes:
        """Return its bytes, as a file of an image has them."""
        raise NotImplementedError


Place = Path | PackedImage  # where an image is read from


class OddSize(DataError):
    """One image differs in size from the rest."""


class BrokenImage(DataError):
    """A file that cannot be decoded: ``reason`` is why."""

    def __init__(self, path: Place, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"broken image {shown(path)} ({reason}): {leave_out(path)}")


def leave_out(path: Place) -> str:
    """Return a remedy that works before and during a run: deleting a file would change the data set."""
    if isinstance(path, PackedImage):
        return path.remedy
    return f"replace it, or rename it to {shown(Path(path.name))}{LEFT_OUT} to leave it out"


def shown(path: Place) -> str:
    """Return a path fit for one line of a message, whatever its bytes are."""
    name = str(path) if isinstance(path, PackedImage) else path
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


@contextmanager
def opened(path: Place) -> Iterator["Image"]:
    """Open an image and read its header.

    Raises:
        DataError: the file cannot be read or decoded, here or in the body of the with-statement; it is named.
    """
    from PIL import Image

    try:
        source = io.BytesIO(path.read()) if isinstance(path, PackedImage) else path
        with Image.open(source, formats=FORMATS) as image:
            if image.width * image.height > (Image.MAX_IMAGE_PIXELS or np.inf):
                raise ValueError(f"{image.width}x{image.height} pixels are more than Pillow deems safe")
            yield image
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error ...
        raise BrokenImage(path, _reason(path, error)) from error


def _reason(path: Place, error: Exception) -> str:
    if getattr(error, "strerror", None):
        return str(error.strerror)  # type: ignore[attr-defined]
    if (not path.read()) if isinstance(path, PackedImage) else (path.is_file() and path.stat().st_size == 0):
        return "empty" if isinstance(path, PackedImage) else "an empty file"
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    # Pillow's "cannot identify image file PATH"
    if str(path) in reason or repr(str(path)) in reason or "_io.BytesIO" in reason:
        return f"not {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
    return reason


def open_rgb(path: Place, rendering: Rendering | None = None) -> "Image":
    """Decode one file to an RGB image, as an image viewer shows it: upright, on white where transparent.

    Raises:
        DataError: the file is broken or not an image; the message names it.
    """
    rendering = rendering or Rendering()
    with opened(path) as image:
        try:
            pixels = to_8_bits(image, rendering.whites)
        except UnknownWhite as error:
            raise UnknownWhite(f"{shown(path)}: {error}") from error
        if not rendering.as_shown:
            return pixels.convert("RGB")
        pixels, orientation = _on_white(pixels), orientation_of(image)
        if orientation in _TURNS:
            return pixels.transpose(_TURNS[orientation])  # type: ignore[arg-type]
        return pixels


def _on_white(image: "Image") -> "Image":
    """Convert to RGB on a white background; transparent pixels often have the colour black, which no viewer shows."""
    from PIL import Image

    if "A" not in image.getbands() and "a" not in image.getbands() and "transparency" not in image.info:
        return image.convert("RGB")
    colours = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), colours).convert("RGB")


def orientation_of(image: "Image") -> int:
    """Return EXIF's orientation, 1 (upright) to 8; always 1 for TIFF, which Pillow rotates itself."""
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1  # Pillow would decode the entire PNG, in which the EXIF block may come last
    try:
        orientation = int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return 1
    return orientation if orientation in _TURNS else 1


def size_of(image: "Image") -> tuple[int, int]:
    """Return (height, width) in pixels as displayed, from the header alone."""
    return (image.width, image.height) if orientation_of(image) >= 5 else (image.height, image.width)


def read_size(path: Place) -> tuple[int, int]:
    """Return (height, width) in pixels, from the header alone.

    Raises:
        DataError: the file is broken; the message names it.
    """
    with opened(path) as image:
        return size_of(image)


def read_sizes(paths: Sequence[Place]) -> set[tuple[int, int]]:
    """Return the distinct (height, width) among ``paths``."""
    with quiet_pool() as pool:
        return set(pool.map(read_size, paths))


def in_threads(work: Callable[[Job], Result], jobs: Sequence[Job]) -> list[Result]:
    """Return the results of jobs in their order, from several threads, or from one in a worker process.

    Args:
        work: done for each job.
        jobs: in order.
    """
    if get_worker_info() is not None or len(jobs) < 2:
        return [work(job) for job in jobs]
    with ThreadPoolExecutor() as pool:
        return list(pool.map(work, jobs))


@contextmanager
def quiet_pool() -> Iterator[ThreadPoolExecutor]:
    """Open a pool of threads that read images, with Pillow's warnings about sizes and metadata silenced."""
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield pool


def decode_all(
    paths: Sequence[Place],
    size: tuple[int, int],
    *,
    rendering: Rendering | None = None,
    progress: ProgressCallback | None = None,
    text: str = "",
) -> Tensor:
    """Decode files of one (height, width) into a uint8 tensor (N, 3, height, width).

    Args:
        paths: the files.
        size: (height, width) of all of them.
        rendering: how they are converted to 8 bits.
        progress: called with (done, total, ``text``).
        text: what is being done, for ``progress``.

    Raises:
        DataError: a file is broken, or of another size.
    """
    pixels = np.empty((len(paths), *size, 3), np.uint8)
    starts = range(0, len(paths), CHUNK)
    with quiet_pool() as pool:
        for done in pool.map(partial(_decode_chunk, paths, pixels, rendering), starts):
            if progress:
                progress(done, len(paths), text)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def decode_some(paths: Sequence[Place], *, size: tuple[int, int], rendering: Rendering | None) -> Tensor:
    """Decode the files of a batch into a uint8 tensor (N, 3, height, width).

    Args:
        paths: the files.
        size: (height, width) of all of them.
        rendering: how they are converted to 8 bits.

    Raises:
        DataError: a file is broken, or of another size.
    """
    pixels = np.empty((len(paths), *size, 3), np.uint8)
    in_threads(partial(_decode_one, paths, pixels, rendering), range(len(paths)))
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def _decode_chunk(paths: Sequence[Place], pixels: np.ndarray, rendering: Rendering | None, start: int) -> int:
    stop = min(start + CHUNK, len(paths))
    for position in range(start, stop):
        _decode_one(paths, pixels, rendering, position)
    return stop


def _decode_one(
    paths: Sequence[Place], pixels: np.ndarray, rendering: Rendering | None, position: int
) -> None:
    image = np.asarray(open_rgb(paths[position], rendering))
    if image.shape != pixels.shape[1:]:
        raise OddSize(
            f"{shown(paths[position])} is {image.shape[1]}x{image.shape[0]} pixels where the others are "
            f"{pixels.shape[2]}x{pixels.shape[1]}: pass an image size to have all resized"
        )
    pixels[position] = image
