"""What a pruning-model sees of a layer's input: a square map of each judged channel, whatever the layer's kind."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeprune.learned.pruning_model import SIDE, resize


@dataclass(frozen=True)
class ChannelMaps:
    """Reads square maps of the judged channels from a layer's input.

    Attributes:
        axis: of the input along which its channels lie.
        side: of the maps, in pixels.
        picks: (U, P) places along ``axis``: each judged channel with its positions, as after a flatten; None where
            every place is a channel that is judged.
    """

    axis: int = 1
    side: int = SIDE
    picks: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Return maps (N, U, side, side) from an input whose first axis, if it is not ``axis``, counts images."""
        x = x.unsqueeze(0) if self.axis == 0 else x
        x = x.movedim(self.axis or 1, 1)
        if self.picks is not None:
            x = x[:, self.picks.to(x.device)].movedim(2, -1)  # (N, U, positions of the input ..., P)
            x = x.squeeze(-1) if x.shape[-1] == 1 else x
        return to_squares(x, self.side)


def to_squares(x: Tensor, side: int) -> Tensor:
    """Resize (N, C, positions ...) to (N, C, side, side).

    A sequence is laid in rows, a volume as four slices side by side; vectors make constant maps.
    """
    positions = x.shape[2:]
    if len(positions) == 2:
        return resize(x, side)
    if len(positions) == 3:
        half = side // 2
        slices = F.adaptive_avg_pool3d(x, (4, half, half)).unflatten(2, (2, 2))
        return slices.transpose(3, 4).reshape(*x.shape[:2], side, side)
    x, root = x.flatten(2) if positions else x.unsqueeze(-1), math.isqrt(math.prod(positions))
    if root**2 == x.shape[2]:
        return resize(x.unflatten(2, (root, root)), side)
    return F.adaptive_avg_pool1d(x, side**2).unflatten(2, (side, side))


def square_shape(positions: tuple[int, ...]) -> tuple[int, int]:
    """Return the height and width of the map that `to_squares` makes of an input, before it is resized."""
    if len(positions) == 2:
        return positions[0], positions[1]
    if len(positions) == 3:
        return 2 * positions[1], 2 * positions[2]
    root = math.isqrt(max(1, math.prod(positions)) - 1) + 1
    return root, root


def per_image(maps: Tensor, images: int) -> Tensor:
    """Return maps (images, C, H, W) from those of windows, frames or boxes, whose number may be another.

    Windows of one image lie side by side and are averaged; where the number is no multiple of ``images``, as with the
    boxes of a detector, all images have the average of all.
    """
    count = len(maps)
    if count == images:
        return maps
    if count and count % images == 0:
        return maps.unflatten(0, (images, -1)).mean(1)
    total = maps.sum(0, keepdim=True) / max(1, count)
    return torch.broadcast_to(total, (images, *maps.shape[1:]))
