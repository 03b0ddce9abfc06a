import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeprune.data.decode import OddSize, decode_all, open_rgb, read_size, read_sizes
from edgeprune.data.depth import Rendering
from edgeprune.errors import DataError


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 90]], np.uint8)).save(tmp_path / "a.png")
    assert np.asarray(open_rgb(tmp_path / "a.png")).tolist() == [[[0, 0, 0], [90, 90, 90]]]


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 256 * 77 + 5]], np.uint16)).save(tmp_path / "a.png")
    assert np.asarray(open_rgb(tmp_path / "a.png"))[0, :, 0].tolist() == [0, 77]


def pixels_of(path: Path, rendering: Rendering | None = None) -> list:
    return np.asarray(open_rgb(path, rendering)).tolist()


def palette_image() -> Image.Image:
    """A red pixel, then a green one."""
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    return image


@pytest.mark.parametrize(
    ("image", "options", "shown_pixels"),
    [
        (Image.new("RGBA", (1, 1), (1, 2, 3, 0)), {}, [[[255] * 3]]),
        (Image.new("RGBA", (1, 1), (1, 2, 3, 255)), {}, [[[1, 2, 3]]]),
        (Image.new("LA", (1, 1), (0, 128)), {}, [[[127] * 3]]),  # 0 * 128/255 + 255 * 127/255
        (palette_image(), {"transparency": 0}, [[[255, 255, 255], [0, 255, 0]]]),
        (palette_image(), {"transparency": b"\xff\x00"}, [[[255, 0, 0], [255, 255, 255]]]),
        (palette_image(), {}, [[[255, 0, 0], [0, 255, 0]]]),
        (Image.new("L", (1, 1), 7), {"transparency": 7}, [[[255] * 3]]),
        (Image.new("RGB", (1, 1), (7, 8, 9)), {"transparency": (7, 8, 9)}, [[[255] * 3]]),
        (Image.new("1", (1, 1), 1), {}, [[[255] * 3]]),
    ],
)
def test_transparent_pixels_are_white(
    tmp_path: Path, image: Image.Image, options: dict, shown_pixels: list
) -> None:
    image.save(tmp_path / "a.png", **options)
    assert pixels_of(tmp_path / "a.png") == shown_pixels


def test_runs_of_before_keep_their_pixels(tmp_path: Path) -> None:
    Image.new("RGBA", (1, 1), (1, 2, 3, 4)).save(tmp_path / "a.png")
    assert pixels_of(tmp_path / "a.png", Rendering(as_shown=False)) == [[[1, 2, 3]]]


def test_cmyk_and_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.tif")
    assert pixels_of(tmp_path / "a.tif")[0][0] == [255, 0, 0]
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("blue", "red")]
    for name in ("a.gif", "a.webp", "a.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
        assert pixels_of(tmp_path / name)[0][0] == [0, 0, 255]


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif"])
def test_orientation_is_applied(tmp_path: Path, name: str) -> None:
    """Each orientation turns the stored pixels back into one upright image, twice as high as wide."""
    upright = Image.new("L", (16, 32))
    upright.paste(255, (0, 0, 8, 8))  # white at the top left
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transpositions that undo each
    for orientation in range(1, 9):
        stored = upright if orientation == 1 else upright.transpose(back[orientation])
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored.convert("RGB").save(tmp_path / name, exif=exif, quality=95)
        assert read_size(tmp_path / name) == (32, 16)
        turned = np.asarray(open_rgb(tmp_path / name)).astype(int)
        assert turned.shape == (32, 16, 3)
        assert np.abs(turned - np.asarray(upright.convert("RGB"))).mean() < 8, orientation


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_damaged_exif_block_does_not_matter(tmp_path: Path) -> None:
    Image.new("RGB", (8, 4)).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*garbage")
    assert read_size(tmp_path / "a.jpg") == (4, 8)
    assert open_rgb(tmp_path / "a.jpg").size == (8, 4)


def test_an_empty_file_and_other_formats_say_so(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"\(an empty file\)"):
        open_rgb(path)
    Image.new("RGB", (1, 1)).save(path, format="ICO")
    with pytest.raises(DataError, match=r"\(not PNG, JPEG, BMP, WEBP, TIFF, PPM or GIF\)"):
        open_rgb(path)


def test_content_decides_and_not_the_extension(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), (9, 9, 9)).save(tmp_path / "a.jpg", format="PNG")
    assert pixels_of(tmp_path / "a.jpg") == [[[9, 9, 9]]]


def test_huge_images_are_refused_without_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for width in (11, 21):  # Pillow warns of the first and refuses the second
        Image.new("RGB", (width, 10)).save(tmp_path / "a.png")
        with pytest.raises(DataError, match=r"broken image .*a\.png .*pixels"):
            read_sizes([tmp_path / "a.png"])
    assert not recwarn.list


def test_odd_names_are_shown_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"a\n\xff\x1b.png")
    path.write_bytes(b"no")
    with pytest.raises(DataError) as caught:
        open_rgb(path)
    message = str(caught.value)
    assert message.isprintable() and r"a\n\xff\x1b.png" in message


@pytest.mark.parametrize("content", [b"", b"not an image", "cut"])
def test_a_broken_image_is_named_in_one_line(
    tmp_path: Path, content: bytes | str, save_image: Callable[..., None]
) -> None:
    path = tmp_path / "a.png"
    save_image(path, size=(64, 64))
    path.write_bytes(path.read_bytes()[:3000] if content == "cut" else content)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"broken image .*a\.png \(.*\): replace") as caught:
        open_rgb(path)
    assert "\n" not in str(caught.value)


def test_header_of_a_broken_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no")
    with pytest.raises(DataError, match=r"a\.png"):
        read_size(tmp_path / "a.png")


def test_sizes_are_height_by_width(tmp_path: Path, save_image: Callable[..., None]) -> None:
    save_image(tmp_path / "a.png", size=(3, 5))
    save_image(tmp_path / "b.png", size=(4, 4))
    assert read_sizes([tmp_path / "a.png", tmp_path / "b.png"]) == {(3, 5), (4, 4)}


def test_decode_all_keeps_the_order_and_reports_progress(tmp_path: Path) -> None:
    paths = [tmp_path / f"{index}.png" for index in range(300)]
    for index, path in enumerate(paths):
        Image.new("RGB", (2, 1), (index % 256, 0, index // 256)).save(path)
    calls = []
    pixels = decode_all(paths, (1, 2), progress=lambda *call: calls.append(call), text="reading")
    assert pixels.shape == (300, 3, 1, 2)
    assert (pixels[:, 0, 0, 1].int() + 256 * pixels[:, 2, 0, 1].int()).tolist() == list(range(300))
    assert calls == [(256, 300, "reading"), (300, 300, "reading")]


def test_decode_all_refuses_another_size(tmp_path: Path, save_image: Callable[..., None]) -> None:
    save_image(tmp_path / "a.png", size=(3, 5))
    with pytest.raises(OddSize, match="5x3 pixels where the others are 4x4"):
        decode_all([tmp_path / "a.png"], (4, 4))
