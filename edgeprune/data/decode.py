"""Image files to uint8 pixels; every broken file becomes an error that names it."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from edgeprune.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

Progress = Callable[[int, int, str], None]  # (done, total, what is being done)
CHUNK = 256  # images per task of the thread pool: large enough that handing out tasks costs nothing


class OddSize(DataError):
    """One image differs in size from the rest."""


def open_rgb(path: Path) -> "Image.Image":
    """Decode one file to an RGB image; grey, palette and 16-bit ones are converted.

    Raises DataError, naming the file, when it is broken or no image.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode.startswith("I"):  # Pillow would clip 16 bits to 8, which makes all white
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            return image.convert("RGB")
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error ...
        raise _broken(path, error) from error


def read_size(path: Path) -> tuple[int, int]:
    """(height, width) in pixels, from the header alone; DataError names a broken file."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.height, image.width
    except Exception as error:
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> DataError:
    reason = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
    if str(path) in reason:  # Pillow's "cannot identify image file PATH"
        reason = "no image that Pillow knows"
    return DataError(f"broken image {path} ({reason}): replace or delete it")


def read_sizes(paths: Sequence[Path]) -> set[tuple[int, int]]:
    """The distinct (height, width) among ``paths``."""
    with ThreadPoolExecutor() as pool:
        return set(pool.map(read_size, paths))


def decode_all(
    paths: Sequence[Path], size: tuple[int, int], *, progress: Progress | None = None, text: str = ""
) -> Tensor:
    """Decode files of one (height, width) into a uint8 tensor (N, 3, height, width).

    Raises DataError for a broken file, and for one of another size.
    """
    pixels = np.empty((len(paths), *size, 3), np.uint8)
    starts = range(0, len(paths), CHUNK)
    with ThreadPoolExecutor() as pool:
        for done in pool.map(partial(_decode_chunk, paths, pixels), starts):
            if progress:
                progress(done, len(paths), text)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def _decode_chunk(paths: Sequence[Path], pixels: np.ndarray, start: int) -> int:
    stop = min(start + CHUNK, len(paths))
    for position in range(start, stop):
        image = np.asarray(open_rgb(paths[position]))
        if image.shape != pixels.shape[1:]:
            raise OddSize(
                f"{paths[position]} is {image.shape[1]}x{image.shape[0]} pixels where the others are "
                f"{pixels.shape[2]}x{pixels.shape[1]}: pass an image size to have all resized"
            )
        pixels[position] = image
    return stop
