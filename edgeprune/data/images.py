"""Sources of pixels: held in memory as one uint8 tensor, or read from files batch by batch."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from edgeprune.data.augment import crop_box, mirrored, resized, shifted
from edgeprune.data.decode import open_rgb
from edgeprune.data.depth import Rendering

if TYPE_CHECKING:
    from PIL.Image import Image

BILINEAR = 2  # Pillow's constant; its resize always antialiases
EVAL_MARGIN = 256 / 224  # the shorter side before the central crop, as torchvision's weights were scored


class Images(Protocol):
    """Labelled images, read by position."""

    labels: np.ndarray
    ahead: bool  # whether reading is slow enough that the next batch should be read in the background

    def plain(self, positions: np.ndarray) -> Tensor:
        """Return images as uint8 (N, C, H, W), without augmentation."""

    def augmented(self, positions: np.ndarray, generator: torch.Generator) -> Tensor:
        """Return images as uint8 (N, C, H, W), augmented by draws from ``generator`` alone."""

    def prepare(self) -> None:
        """Read now what would be read at first use, so that a broken file is reported early."""


class MemoryImages:
    """Small images of one size, decoded once at first use.

    Args:
        labels: int64, shape (N,).
        read: returns all pixels, uint8 (N, C, H, W).
        size: (height, width) of the images that are returned; in memory they have their own size.
        pad: largest random shift, in pixels of the images in memory.
        flip: whether a mirrored image still belongs to its class.
    """

    ahead = False

    def __init__(
        self, labels: np.ndarray, read: Callable[[], Tensor], *, size: tuple[int, int], pad: int, flip: bool
    ) -> None:
        self.labels = labels
        self._read, self._size, self._pad, self._flip = read, size, pad, flip

    @cached_property
    def pixels(self) -> Tensor:
        """All images, uint8 (N, C, H, W)."""
        return self._read()

    def prepare(self) -> None:
        """Decode all images now."""
        assert len(self.pixels) == len(self.labels)

    def plain(self, positions: np.ndarray) -> Tensor:
        """Return images as uint8 (N, C, H, W), without augmentation."""
        return resized(self.pixels[torch.from_numpy(positions)], self._size)

    def augmented(self, positions: np.ndarray, generator: torch.Generator) -> Tensor:
        """Return images as uint8 (N, C, H, W), shifted and randomly flipped."""
        images = shifted(self.pixels[torch.from_numpy(positions)], self._pad, generator)
        return resized(mirrored(images, generator) if self._flip else images, self._size)


@dataclass
class FileImages:
    """Images too large or too many to hold, read and cropped by a thread pool for each batch."""

    labels: np.ndarray
    paths: Sequence[Path]
    side: int  # of the square that is returned, in pixels
    rendering: Rendering | None = None
    ahead: bool = field(default=True, init=False)

    def prepare(self) -> None:
        """Do nothing: each file is read for its batch."""

    def plain(self, positions: np.ndarray) -> Tensor:
        """Return uint8 (N, 3, side, side): the shorter side resized, the centre cropped."""
        return self._map(self._centre, [(self.paths[position],) for position in positions])

    def augmented(self, positions: np.ndarray, generator: torch.Generator) -> Tensor:
        """Return uint8 (N, 3, side, side): a random box resized, randomly flipped."""
        seeds = torch.randint(0, 2**62, (len(positions),), generator=generator).tolist()
        jobs = [(self.paths[position], seed) for position, seed in zip(positions, seeds, strict=True)]
        return self._map(self._random_box, jobs)

    def _map(self, work: Callable[..., Tensor], jobs: list[tuple[Any, ...]]) -> Tensor:
        with ThreadPoolExecutor() as pool:
            return torch.stack(list(pool.map(lambda job: work(*job), jobs)))

    def _centre(self, path: Path) -> Tensor:
        image = open_rgb(path, self.rendering)
        scale = round(self.side * EVAL_MARGIN) / min(image.size)
        width, height = (max(self.side, round(length * scale)) for length in image.size)
        left, top = (width - self.side) // 2, (height - self.side) // 2
        image = image.resize((width, height), BILINEAR)
        return _tensor(image.crop((left, top, left + self.side, top + self.side)))

    def _random_box(self, path: Path, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        image = open_rgb(path, self.rendering)
        top, left, height, width = crop_box(image.height, image.width, generator)
        box = (left, top, left + width, top + height)
        image = image.resize((self.side, self.side), BILINEAR, box=box)
        return mirrored(_tensor(image)[None], generator)[0]


def _tensor(image: "Image") -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
