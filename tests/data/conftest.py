"""Small image folders on disk."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def write_image(path: Path, *, size: tuple[int, int] = (8, 8), mode: str = "RGB", value: int = 0) -> None:
    """Write one image of (height, width), its pixels random from a seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (*size, 3) if mode == "RGB" else size
    pixels = np.random.default_rng(value).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Builds DIR/PART/CLASS/*.png; ``parts`` maps a part's name ("" for none) to its images per class."""

    def make(parts: dict[str, Sequence[int]], *, size: tuple[int, int] = (8, 8), mode: str = "RGB") -> Path:
        value = 0
        for part, counts in parts.items():
            for label, count in enumerate(counts):
                for index in range(count):
                    path = tmp_path / "images" / part / f"class{label}" / f"{index:03d}.png"
                    write_image(path, size=size, mode=mode, value=value)
                    value += 1
        return tmp_path / "images"

    return make


@pytest.fixture
def save_image() -> Callable[..., None]:
    """`write_image`, for tests of single files."""
    return write_image
