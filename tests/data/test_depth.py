import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike
from PIL import Image

from edgeprune.data.checking import survey
from edgeprune.data.decode import open_rgb
from edgeprune.data.depth import COLOUR, FLOAT, GREY, INTEGER, Extent, Rendering, scaled, white_of
from edgeprune.errors import DataError


def save(path: Path, values: ArrayLike, dtype: str) -> Path:
    Image.fromarray(np.array([values], dtype)).save(path)
    return path


def png16(path: Path, colour_type: int, values: list[int]) -> Path:
    """A PNG of one row with 16 bits a channel, which Pillow does not write in colour."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    row = b"\0" + np.array(values, ">u2").tobytes()
    header = struct.pack(">IIBBBBB", len(values) // channels, 1, 16, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(row)), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in chunks:
        content += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("kind", "largest", "white"),
    [
        (GREY, 65535, 65535),
        (GREY, 40000, 65535),
        (GREY, 30000, 65535),  # 15 bits are what 16 are used for
        (GREY, 16383, 16383),
        (GREY, 4095, 4095),
        (GREY, 2100, 4095),
        (GREY, 1023, 1023),
        (GREY, 255, 255),
        (GREY, 200, 255),
        (GREY, 1, 1),
        (GREY, 0, 1),
        (INTEGER, 100_000, 131_071),
        (INTEGER, 2**32 - 1, 2**32 - 1),
        (FLOAT, 1.0, 1),
        (FLOAT, 0.3, 1),
        (FLOAT, 254.5, 255),
        (COLOUR, 255, 65535),
        (COLOUR, 0, 65535),
    ],
)
def test_white_follows_from_the_largest_value_of_the_folder(kind: str, largest: float, white: int) -> None:
    assert white_of(kind, [Extent(kind, 0, 0), Extent(kind, 0, largest)]) == white


@pytest.mark.parametrize(
    ("extent", "message"),
    [
        (Extent(INTEGER, -1000, 3000), "negative values, down to -1000"),
        (Extent(FLOAT, -0.5, 1), "negative values, down to -0.5"),
        (Extent(FLOAT, 0, 50), "reach 50, where 1 or 255"),
        (Extent(FLOAT, 0, 4000), "reach 4000"),
        (Extent(FLOAT, float("nan"), float("nan")), "not finite"),
        (Extent(FLOAT, 0, float("inf")), "not finite"),
        (Extent(COLOUR, 0, 15), "14 bits or fewer"),
    ],
)
def test_ranges_that_are_not_known_are_refused(extent: Extent, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        white_of(extent.kind, [extent])
    assert "8 bits" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "dtype", "white", "expected"),
    [
        ([0, 257, 65535], "uint16", 65535, [0, 1, 255]),
        ([0, 2048, 4095, 5000], "uint16", 4095, [0, 128, 255, 255]),
        ([0, 1], "uint16", 1, [0, 255]),
        ([0, 2, 3], "uint16", 3, [0, 170, 255]),
        ([0, 2**31, 2**32 - 1], "uint32", 2**32 - 1, [0, 128, 255]),
        ([0, 0.5, 1, 1.04], "float32", 1, [0, 128, 255, 255]),
        ([0, 127.6, 255], "float32", 255, [0, 128, 255]),
        ([np.nan], "float32", 255, [0]),
    ],
)
def test_scaled(values: list, dtype: str, white: int, expected: list[int]) -> None:
    result = scaled(np.array(values, dtype), white)
    assert result.dtype == np.uint8 and result.tolist() == expected


@pytest.mark.parametrize(
    ("name", "dtype", "values"),
    [
        ("a.png", "uint16", [0, 2048, 4095]),
        ("a.tif", "uint16", [0, 2048, 4095]),
        ("a.tif", "int32", [0, 2**19, 2**20 - 1]),
        ("a.tif", "float32", [0, 0.502, 1]),
        ("a.tif", "float32", [0, 128, 255]),
        ("a.pgm", "uint16", [0, 2048, 4095]),
    ],
)
def test_a_deep_image_is_never_near_black(tmp_path: Path, name: str, dtype: str, values: list) -> None:
    path = save(tmp_path / name, values, dtype)
    rendering = Rendering(survey([path]).whites)
    assert np.asarray(open_rgb(path, rendering))[0, :, 0].tolist() == [0, 128, 255]


def test_a_pgm_names_its_white(tmp_path: Path) -> None:
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 3 1 4095\n" + np.array([0, 512, 1024], ">u2").tobytes())
    rendering = Rendering(survey([path]).whites)
    assert np.asarray(open_rgb(path, rendering))[0, :, 0].tolist() == [0, 32, 64]


def test_white_is_of_the_folder_and_not_of_one_image(tmp_path: Path) -> None:
    dark, bright = save(tmp_path / "a.png", [0, 400], "uint16"), save(tmp_path / "b.png", [0, 4000], "uint16")
    result = survey([dark, bright])
    assert result.whites == {GREY: 4095}
    assert result.notes == ("16-bit grey images use 12 bits: 4095 is white",)
    assert np.asarray(open_rgb(dark, Rendering(result.whites)))[0, :, 0].tolist() == [0, 25]


def test_sixteen_bit_colour(tmp_path: Path) -> None:
    full = png16(tmp_path / "a.png", 2, [0, 32768, 65535])
    assert survey([full]).notes == ()
    assert np.asarray(open_rgb(full, Rendering(survey([full]).whites))).tolist() == [[[0, 128, 255]]]
    for colour_type, values in ((2, [0, 2048, 4095]), (4, [4095, 65535]), (6, [0, 1, 4095, 65535])):
        with pytest.raises(DataError, match="14 bits or fewer"):
            survey([png16(tmp_path / "b.png", colour_type, values)])


def tiff(path: Path, bits: int, sample_format: int, data: bytes, photometric: int = 1) -> Path:
    """A TIFF of one row of two pixels."""
    tags = {256: 2, 257: 1, 258: bits, 259: 1, 262: photometric, 277: 1, 278: 1, 279: len(data)}
    tags |= {339: sample_format, 273: 8 + 2 + 12 * 10 + 4}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data)
    return path


def test_kinds_of_tiff(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tiff(path, 32, 1, np.array([2**31, 2**32 - 1], "<u4").tobytes())  # unsigned, beyond Pillow's range
    assert np.asarray(open_rgb(path, Rendering(survey([path]).whites)))[0, :, 0].tolist() == [128, 255]
    tiff(path, 16, 1, np.array([0, 65535], "<u2").tobytes(), photometric=0)  # the least value is white
    assert np.asarray(open_rgb(path))[0, :, 0].tolist() == [255, 0]
    tiff(path, 16, 2, np.array([-5, 7], "<i2").tobytes())
    with pytest.raises(DataError, match="negative values, down to -5"):
        survey([path])


def test_a_kind_that_came_later_is_refused_and_not_guessed(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", [0, 4095], "uint16")
    with pytest.raises(DataError, match=r"a\.png: 16-bit grey images were not in this folder before"):
        open_rgb(path, Rendering({}))
