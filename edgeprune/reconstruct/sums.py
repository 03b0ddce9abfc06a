"""Products of what layers read, summed over each half of the images."""

import torch
from torch import Tensor


class HalvedProducts:
    """The sums of X^T X over each half of the images; see `ridge.best_change`.

    Args:
        groups: of the layer.
        width: number of columns of X in a group.
        device: torch's.
    """

    def __init__(self, groups: int, width: int, device: torch.device) -> None:
        shape = (groups, width, width)
        self.halves = [torch.zeros(shape, dtype=torch.float64, device=device) for _ in range(2)]
        self.samples = [0, 0]

    def add(self, rows: Tensor, images: int) -> None:
        """Add the samples of a batch: half of its images to each sum, or all of one image to one of them.

        Args:
            rows: (groups, samples, width), image by image.
            images: of the batch.
        """
        rows = rows.double()
        middle = rows.shape[1] * (images // 2) // images
        if images == 1 and self.samples[0] < self.samples[1]:
            middle = rows.shape[1]
        for half, part in enumerate((rows[:, :middle], rows[:, middle:])):
            self.halves[half].baddbmm_(part.transpose(1, 2), part)
            self.samples[half] += part.shape[1]
