"""Convert images of more than 8 bits to 8 bits, with one value of white for a folder.

The value of white is a property of the folder: 12 bits are commonly stored in 16, which no header says.
It follows from the largest value of all images, so that it is the same in training, export and measurement.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeprune.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

COLOUR = "16-bit colour"  # Pillow gives its high bytes alone
FLOAT = "float"
INTEGER = "integer"  # Pillow's mode I: 32 bits, signed 16 bits, and 16-bit PGM
GREY = "16-bit grey"
# The values of runs from before the folder was examined; Pillow itself clips floats to 0..255.
BY_MODE = {GREY: 65535, INTEGER: 65535, FLOAT: 255, COLOUR: 65535}
_MIN_IS_WHITE = 0  # TIFF's photometric interpretation, which Pillow undoes for 8 bits alone


class UnknownWhite(DataError):
    """An image of more than 8 bits, of a kind that was not seen when the value of white was determined."""


@dataclass(frozen=True)
class Rendering:
    """How files become 8-bit pixels.

    ``whites`` maps each kind of deep image to its value of white; ``as_shown`` says whether orientation and
    transparency are applied as an image viewer does. A run keeps the rendering it was started with.
    """

    whites: Mapping[str, int] = field(default_factory=lambda: BY_MODE)
    as_shown: bool = True


@dataclass(frozen=True)
class Extent:
    """The kind of one deep image, and its least and largest values."""

    kind: str
    least: float
    largest: float


def kind_of(image: "Image") -> str | None:
    """Return the kind of an opened image of more than 8 bits a channel; None for others."""
    if image.mode.startswith("I;16"):
        return GREY
    if image.mode == "I":
        return INTEGER
    if image.mode == "F":
        return FLOAT
    return COLOUR if ";16" in str(getattr(image, "tile", "")) else None


def extent_of(image: "Image") -> Extent | None:
    """Decode an image of more than 8 bits and return its least and largest value; None for other images."""
    kind = kind_of(image)
    if kind is None or _is_scaled(image):
        return None
    values = _values(image)
    return Extent(kind, float(values.min()), float(values.max()))


def _is_scaled(image: "Image") -> bool:
    """Return whether the header names the largest value, by which Pillow scales: PGM and PPM of 9 to 15 bits."""
    return image.format == "PPM" and "ppm" in str(getattr(image, "tile", ""))


def white_of(kind: str, extents: Iterable[Extent]) -> int:
    """Return the value of white of all images of one kind.

    Raises:
        DataError: the range of their values is unknown.
    """
    extents = list(extents)
    least, largest = min(e.least for e in extents), max(e.largest for e in extents)
    if not (math.isfinite(least) and math.isfinite(largest)):
        raise DataError(f"{kind} images hold values that are not finite numbers: {_CONVERT}")
    if least < 0:
        raise DataError(f"{kind} images hold negative values, down to {least:g}: {_CONVERT}")
    if kind == FLOAT:
        return _float_white(largest)
    if kind == COLOUR:
        if 0 < largest < 64:  # of the high byte's 255
            raise DataError(f"16-bit colour images use 14 bits or fewer and would be near-black: {_CONVERT}")
        return 65535
    return 2 ** _container_bits(int(largest)) - 1


_CONVERT = "convert the images to 8 bits a channel"


def _float_white(largest: float) -> int:
    if largest <= 1.05:  # resampling overshoots a little
        return 1
    if 127 < largest <= 268:
        return 255
    raise DataError(f"float images reach {largest:g}, where 1 or 255 should be white: {_CONVERT}")


def _container_bits(largest: int) -> int:
    """Round up to the bits that sensors give, 8, 10, 12, 14 or 16; other bit counts stay as they are."""
    bits = max(1, largest.bit_length())
    return bits + bits % 2 if 8 < bits < 16 else bits


def to_8_bits(image: "Image", whites: Mapping[str, int]) -> "Image":
    """Convert an image to 8 bits a channel with white at 255; an image of 8 bits is returned unchanged.

    Raises:
        UnknownWhite: ``whites`` does not have its kind.
    """
    from PIL import Image

    kind = kind_of(image)
    if kind is None:
        return image
    white = 65535 if _is_scaled(image) else whites.get(kind)
    if white is None:
        raise UnknownWhite(f"{kind} images were not in this folder before: {_CONVERT}")
    return image if kind == COLOUR else Image.fromarray(scaled(_values(image), white))


def scaled(values: NDArray[Any], white: int) -> NDArray[np.uint8]:
    """Scale values from 0..``white`` to 0..255; values outside are clipped, and NaN becomes 0."""
    if values.dtype.kind == "f":
        return (np.nan_to_num(values).clip(0, white) * (255 / white)).round().astype(np.uint8)
    values = values.astype(np.int64).clip(0, white)
    if white < 255:
        return (values * 255 // white).astype(np.uint8)
    return (values >> (white.bit_length() - 8)).astype(np.uint8)


def _values(image: "Image") -> NDArray[Any]:
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    if kind_of(image) == INTEGER and tags and tags.get(339, (1,)) in (1, (1,)):
        values = values.view(np.uint32)  # Pillow has no unsigned mode of 32 bits
    if kind_of(image) == GREY and tags.get(262) == _MIN_IS_WHITE:
        values = 2 ** tags.get(258, (16,))[0] - 1 - values
    return values[..., :-1] if image.mode in ("LA", "RGBA") else values
