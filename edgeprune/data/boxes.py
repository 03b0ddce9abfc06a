"""Boxes go with their image: resized, cut to a window, mirrored."""

import torch
from torch import Tensor
from torch.nn import functional as F

LEAST_PIXELS = 1.0  # of a box's side, below which it is left out
WINDOW_SHARE = (0.4, 1.0)  # of the image's area that a random window shows
WHOLE_IMAGE = 0.5  # share of the draws that leave the image as it is


def rescaled(boxes: Tensor, size: tuple[int, int], to: tuple[int, int]) -> Tensor:
    """Return boxes for an image that was resized.

    Args:
        boxes: (n, 4), x1, y1, x2, y2 in pixels.
        size: (height, width) of the image before.
        to: (height, width) after.
    """
    (height, width), (new_height, new_width) = size, to
    factors = [new_width / width, new_height / height] * 2
    return boxes * torch.tensor(factors, dtype=boxes.dtype)


def mirrored_boxes(boxes: Tensor, width: float) -> Tensor:
    """Return boxes (n, 4) for an image that was flipped left to right."""
    return torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)


def seen_through(
    boxes: Tensor, labels: Tensor, window: tuple[float, float, float, float]
) -> tuple[Tensor, Tensor]:
    """Return boxes and labels of what a window shows: those whose centre lies in it, cut off at its edges.

    Args:
        boxes: (n, 4), x1, y1, x2, y2 in pixels.
        labels: (n,).
        window: left, top, right, bottom in pixels; it becomes the origin.
    """
    left, top, right, bottom = window
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    inside = (x > left) & (x < right) & (y > top) & (y < bottom)
    edges = torch.tensor([left, top, left, top], dtype=boxes.dtype)
    size = torch.tensor([right - left, bottom - top] * 2, dtype=boxes.dtype)
    cut = (boxes - edges).clamp(min=torch.zeros(4, dtype=boxes.dtype), max=size)
    visible = inside & ((cut[:, 2:] - cut[:, :2]) >= LEAST_PIXELS).all(1)
    return cut[visible], labels[visible]


def random_window(size: tuple[int, int], generator: torch.Generator) -> tuple[int, int, int, int] | None:
    """Draw a window of 40 to 100 % of the image's area and of its aspect, or, every other time, none.

    Args:
        size: (height, width) of the image in pixels.
        generator: source of the draws; it always gives the same number of them.

    Returns:
        left, top, right, bottom in pixels.
    """
    draws = torch.rand(4, generator=generator).tolist()
    if draws[0] < WHOLE_IMAGE:
        return None
    low, high = WINDOW_SHARE
    side = (low + (high - low) * draws[1]) ** 0.5
    height, width = (max(1, round(length * side)) for length in size)
    top, left = round((size[0] - height) * draws[2]), round((size[1] - width) * draws[3])
    return left, top, left + width, top + height


def windowed(image: Tensor, window: tuple[int, int, int, int] | None, size: tuple[int, int]) -> Tensor:
    """Return what a window shows of an image, at a size.

    Args:
        image: uint8, (C, H, W).
        window: left, top, right, bottom in pixels; None for all of it.
        size: (height, width) of what is returned.
    """
    if window is not None:
        left, top, right, bottom = window
        image = image[:, top:bottom, left:right]
    if tuple(image.shape[1:]) == size:
        return image
    pixels = F.interpolate(image[None].float(), size=size, mode="bilinear", antialias=True)[0]
    return pixels.round_().clamp_(0, 255).to(torch.uint8)
