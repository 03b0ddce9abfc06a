from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeprune.data.decode import OddSize, decode_all, open_rgb, read_size, read_sizes
from edgeprune.errors import DataError


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 90]], np.uint8)).save(tmp_path / "a.png")
    assert np.asarray(open_rgb(tmp_path / "a.png")).tolist() == [[[0, 0, 0], [90, 90, 90]]]


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 256 * 77 + 5]], np.uint16)).save(tmp_path / "a.png")
    assert np.asarray(open_rgb(tmp_path / "a.png"))[0, :, 0].tolist() == [0, 77]


def test_transparency_is_dropped(tmp_path: Path) -> None:
    Image.new("RGBA", (1, 1), (1, 2, 3, 4)).save(tmp_path / "a.png")
    assert np.asarray(open_rgb(tmp_path / "a.png")).tolist() == [[[1, 2, 3]]]


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
