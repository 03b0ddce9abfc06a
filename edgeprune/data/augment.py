"""Random crops and flips, each a pure function of the images and a generator, and what they do to a target."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

RGB_MEAN = (0.485, 0.456, 0.406)  # ImageNet's, which torchvision's and the CIFAR weights expect
RGB_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Crop:
    """The part of an image that the model is given: a box, resized and perhaps mirrored afterwards.

    Attributes:
        top, left, height, width: of the box, in pixels of the image; what lies beyond the image is black.
        size: (height, width) to which the box was resized.
        mirrored: whether left and right were exchanged.
    """

    top: float
    left: float
    height: float
    width: float
    size: tuple[int, int]
    mirrored: bool = False


def generator_for(*key: int) -> torch.Generator:
    """Return a generator that depends on ``key`` alone, so that step 700 can be replayed without 0..699."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def draw_offsets(count: int, pad: int, generator: torch.Generator) -> Tensor:
    """Draw where each image is cropped after it was padded: (2, N), rows and columns, 0 to 2 ``pad``.

    Args:
        count: of images.
        pad: largest shift in pixels, in both axes and directions.
        generator: source of the shifts.
    """
    return torch.randint(0, 2 * pad + 1, (2, count), generator=generator)


def shifted(images: Tensor, pad: int, offsets: Tensor) -> Tensor:
    """Crop each image at its own offset after padding it with ``pad`` black pixels.

    Args:
        images: any dtype, shape (N, C, H, W).
        pad: largest shift in pixels, in both axes and directions.
        offsets: of `draw_offsets`.

    Returns:
        A new tensor of the same shape and dtype.
    """
    count, _, height, width = images.shape
    windows = F.pad(images, (pad, pad, pad, pad)).unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(count), :, offsets[0], offsets[1]]


def draw_flips(count: int, generator: torch.Generator) -> Tensor:
    """Draw which of ``count`` images are mirrored, each with probability one half, bool (N,)."""
    return torch.rand(count, generator=generator) < 0.5


def mirrored(images: Tensor, flips: Tensor) -> Tensor:
    """Flip those images of shape (N, C, H, W) left to right that ``flips``, bool (N,), marks."""
    return torch.where(flips[:, None, None, None], images.flip(3), images)


def cropped_mask(mask: Tensor, crop: Crop, outside: int) -> Tensor:
    """Return what became of a mask when its image was cropped: the nearest pixel's value, never a mixture.

    Args:
        mask: (H, W), any dtype.
        crop: of the image.
        outside: value of what lies beyond the image.

    Returns:
        A new tensor of shape ``crop.size`` and the same dtype.
    """
    height, width = crop.size
    rows = (crop.top + (torch.arange(height) + 0.5) * (crop.height / height)).floor().long()
    columns = (crop.left + (torch.arange(width) + 0.5) * (crop.width / width)).floor().long()
    if crop.mirrored:
        columns = columns.flip(0)
    taken = mask[rows.clamp(0, mask.shape[0] - 1)][:, columns.clamp(0, mask.shape[1] - 1)]
    beyond_rows, beyond_columns = (
        (places < 0) | (places >= length) for places, length in zip((rows, columns), mask.shape, strict=True)
    )
    return taken.masked_fill(beyond_rows[:, None] | beyond_columns[None], outside)


def crop_box(
    height: int, width: int, generator: torch.Generator, least: float = 0.08
) -> tuple[int, int, int, int]:
    """Draw a random box of ``least`` to all of the area and of aspect 3/4 to 4/3 (Szegedy et al., 2015).

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.
        generator: source of the draws.
        least: smallest share of the area.

    Returns:
        (top, left, height, width) in pixels; the largest central square if ten draws do not fit the image.
    """
    for _ in range(10):
        share, stretch = torch.rand(2, generator=generator).tolist()
        area = height * width * (least + (1 - least) * share)
        aspect = (3 / 4) ** (1 - 2 * stretch)
        box_height, box_width = round((area / aspect) ** 0.5), round((area * aspect) ** 0.5)
        if 0 < box_height <= height and 0 < box_width <= width:
            top = int(torch.randint(0, height - box_height + 1, (1,), generator=generator))
            left = int(torch.randint(0, width - box_width + 1, (1,), generator=generator))
            return top, left, box_height, box_width
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize uint8 images (N, C, H, W) to another (height, width), bilinear and antialiased; the dtype stays."""
    if tuple(images.shape[2:]) == tuple(size):
        return images
    interpolated = F.interpolate(images.float(), size=size, mode="bilinear", antialias=True)
    return interpolated.round_().clamp_(0, 255).to(torch.uint8)


def normalised(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Convert uint8 images to float32 ``(image / 255 - mean) / std``, per channel.

    Args:
        images: uint8, shape (N, C, H, W).
        mean: of each channel, for images in [0, 1].
        std: standard deviation of each channel, likewise.
    """
    shift, scale = (torch.tensor(values, device=images.device).view(1, -1, 1, 1) for values in (mean, std))
    return images.float().div_(255).sub_(shift).div_(scale)
