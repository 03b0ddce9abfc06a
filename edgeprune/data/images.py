"""Sources of pixels: held in memory as one uint8 tensor, or read from files batch by batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from edgeprune.data.augment import (
    Crop,
    crop_box,
    draw_flips,
    draw_offsets,
    mirrored,
    resized,
    shifted,
)
from edgeprune.data.decode import Place, in_threads, open_rgb
from edgeprune.data.depth import Rendering
from edgeprune.data.targets import Targets

if TYPE_CHECKING:
    from PIL.Image import Image

BILINEAR = 2  # Pillow's constant; its resize always antialiases
EVAL_MARGIN = 256 / 224  # the shorter side before the central crop, as torchvision's weights were scored
LEAST_SCENE = 0.5  # of the area that a random box keeps where a target lies on the image

ALL = slice(None)
Pixels = tuple[Tensor, list[Crop]]  # uint8 (N, C, H, W), and what became of each image


class Images(Protocol):
    """Images and their targets, read by position."""

    targets: Targets
    ahead: bool  # whether reading is slow enough that the next batch should be read in the background

    def read(
        self, positions: np.ndarray, generator: torch.Generator | None = None, part: slice = ALL
    ) -> Pixels:
        """Return images and their crops; augmented by draws from the generator alone, if there is one.

        Args:
            positions: of a batch.
            generator: draws for all of the batch.
            part: of the batch that is read and returned.
        """

    def prepare(self) -> None:
        """Read now what would be read at first use, so that a broken file is reported early."""


class MemoryImages:
    """Small images of one size, decoded once at first use.

    Args:
        targets: of the images.
        read: returns all pixels, uint8 (N, C, H, W).
        size: (height, width) of the images that are returned; in memory they have their own size.
        pad: largest random shift, in pixels of the images in memory.
        flip: whether a mirrored image still has its target.
    """

    ahead = False

    def __init__(
        self, targets: Targets, read: Callable[[], Tensor], *, size: tuple[int, int], pad: int, flip: bool
    ) -> None:
        self.targets = targets
        self._read, self._size, self._pad, self._flip = read, size, pad, flip

    @cached_property
    def pixels(self) -> Tensor:
        """All images, uint8 (N, C, H, W)."""
        return self._read()

    def prepare(self) -> None:
        """Decode all images now."""
        assert len(self.pixels) == len(self.targets)

    def read(
        self, positions: np.ndarray, generator: torch.Generator | None = None, part: slice = ALL
    ) -> Pixels:
        """Return images as uint8 (N, C, H, W) and their crops; with a generator shifted and randomly flipped.

        Args:
            positions: of a batch.
            generator: draws for all of the batch; None for no augmentation.
            part: of the batch that is read and returned.
        """
        images, count = self._own_pixels(positions[part]), len(positions)
        corners = torch.zeros(2, len(images), dtype=torch.int64)
        flips = torch.zeros(len(images), dtype=torch.bool)
        height, width = images.shape[2:]
        if generator is not None:
            offsets = draw_offsets(count, self._pad, generator)[:, part]
            images, corners = shifted(images, self._pad, offsets), offsets - self._pad
            if self._flip:
                flips = draw_flips(count, generator)[part]
                images = mirrored(images, flips)
        crops = [
            Crop(top, left, height, width, self._size, flip)
            for top, left, flip in zip(*corners.tolist(), flips.tolist(), strict=True)
        ]
        return resized(images, self._size), crops

    def _own_pixels(self, positions: np.ndarray) -> Tensor:
        """Return images at their own size, without augmentation."""
        return self.pixels[torch.from_numpy(positions)]


class SmallFileImages(MemoryImages):
    """Small images of one size that are decoded for each batch: the same bytes as in memory, without the memory.

    Args:
        targets: of the images.
        paths: of the files.
        decode: returns the pixels of some files, uint8 (N, C, H, W).
        size: (height, width) of the images that are returned.
        pad: largest random shift, in pixels of the files' own size.
        flip: whether a mirrored image still has its target.
    """

    ahead = True

    def __init__(
        self,
        targets: Targets,
        paths: Sequence[Place],
        decode: Callable[[Sequence[Place]], Tensor],
        *,
        size: tuple[int, int],
        pad: int,
        flip: bool,
    ) -> None:
        super().__init__(targets, lambda: decode(paths), size=size, pad=pad, flip=flip)
        self._paths, self._decode = paths, decode

    def prepare(self) -> None:
        """Do nothing: each file is read for its batch."""

    def _own_pixels(self, positions: np.ndarray) -> Tensor:
        return self._decode([self._paths[position] for position in positions])


@dataclass
class FileImages:
    """Images too large or too many to hold, read and cropped by a thread pool for each batch."""

    targets: Targets
    paths: Sequence[Place]
    side: int  # of the square that is returned, in pixels
    rendering: Rendering | None = None
    ahead: bool = field(default=True, init=False)

    def prepare(self) -> None:
        """Do nothing: each file is read for its batch."""

    def read(
        self, positions: np.ndarray, generator: torch.Generator | None = None, part: slice = ALL
    ) -> Pixels:
        """Return uint8 (N, 3, side, side) and the crops; with a generator random boxes, randomly flipped.

        Without one, an image is resized by its shorter side and its centre is cropped; it is resized as a whole
        where targets lie on it.

        Args:
            positions: of a batch.
            generator: draws for all of the batch; None for no augmentation.
            part: of the batch that is read and returned.
        """
        paths = [self.paths[position] for position in positions[part]]
        if generator is None:
            work: Callable[..., tuple[Tensor, Crop]] = (
                self._uncropped if self.targets.spatial else self._centre
            )
            return _map(work, [(path,) for path in paths])
        seeds = torch.randint(0, 2**62, (len(positions),), generator=generator)[part].tolist()
        return _map(self._random_box, list(zip(paths, seeds, strict=True)))

    def _centre(self, path: Place) -> tuple[Tensor, Crop]:
        image = open_rgb(path, self.rendering)
        scale = round(self.side * EVAL_MARGIN) / min(image.size)
        width, height = (max(self.side, round(length * scale)) for length in image.size)
        left, top = (width - self.side) // 2, (height - self.side) // 2
        across, down = image.width / width, image.height / height
        crop = Crop(top * down, left * across, self.side * down, self.side * across, (self.side, self.side))
        image = image.resize((width, height), BILINEAR)
        return _tensor(image.crop((left, top, left + self.side, top + self.side))), crop

    def _uncropped(self, path: Place) -> tuple[Tensor, Crop]:
        image = open_rgb(path, self.rendering)
        crop = Crop(0, 0, image.height, image.width, (self.side, self.side))
        return _tensor(image.resize((self.side, self.side), BILINEAR)), crop

    def _random_box(self, path: Place, seed: int) -> tuple[Tensor, Crop]:
        generator = torch.Generator().manual_seed(seed)
        image = open_rgb(path, self.rendering)
        least = {"least": LEAST_SCENE} if self.targets.spatial else {}
        top, left, height, width = crop_box(image.height, image.width, generator, **least)
        box = (left, top, left + width, top + height)
        image = image.resize((self.side, self.side), BILINEAR, box=box)
        flips = draw_flips(1, generator)
        crop = Crop(top, left, height, width, (self.side, self.side), bool(flips))
        return mirrored(_tensor(image)[None], flips)[0], crop


def _map(work: Callable[..., tuple[Tensor, Crop]], jobs: list[tuple[Any, ...]]) -> Pixels:
    pixels, crops = zip(*in_threads(lambda job: work(*job), jobs), strict=True)
    return torch.stack(pixels), list(crops)


def _tensor(image: "Image") -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
