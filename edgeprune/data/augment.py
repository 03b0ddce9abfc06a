"""Random crops and flips on whole batches, each a pure function of the images and a generator."""

import hashlib

import torch
from torch import Tensor
from torch.nn import functional as F

RGB_MEAN = (0.485, 0.456, 0.406)  # ImageNet's, which torchvision's and the CIFAR weights expect
RGB_STD = (0.229, 0.224, 0.225)


def generator_for(*key: int) -> torch.Generator:
    """Return a generator that depends on ``key`` alone, so that step 700 can be replayed without 0..699."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def shifted(images: Tensor, pad: int, generator: torch.Generator) -> Tensor:
    """Crop each image at its own random offset after padding it with ``pad`` black pixels.

    Args:
        images: any dtype, shape (N, C, H, W).
        pad: largest shift in pixels, in both axes and directions.
        generator: source of the shifts.

    Returns:
        A new tensor of the same shape and dtype.
    """
    count, _, height, width = images.shape
    windows = F.pad(images, (pad, pad, pad, pad)).unfold(2, height, 1).unfold(3, width, 1)
    offsets = torch.randint(0, 2 * pad + 1, (2, count), generator=generator)
    return windows[torch.arange(count), :, offsets[0], offsets[1]]


def mirrored(images: Tensor, generator: torch.Generator) -> Tensor:
    """Flip each image of shape (N, C, H, W) left to right with probability one half."""
    flips = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(flips[:, None, None, None], images.flip(3), images)


def crop_box(height: int, width: int, generator: torch.Generator) -> tuple[int, int, int, int]:
    """Draw a random box of 8 to 100 % of the area and of aspect 3/4 to 4/3 (Szegedy et al., 2015).

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.
        generator: source of the draws.

    Returns:
        (top, left, height, width) in pixels; the largest central square if ten draws do not fit the image.
    """
    for _ in range(10):
        share, stretch = torch.rand(2, generator=generator).tolist()
        area = height * width * (0.08 + 0.92 * share)
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
    shift, scale = (torch.tensor(values).view(1, -1, 1, 1) for values in (mean, std))
    return images.float().div_(255).sub_(shift).div_(scale)
