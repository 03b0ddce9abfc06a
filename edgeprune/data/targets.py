"""What a model is to give for an image: a class, a mask, or whatever else a task needs."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from edgeprune.data.augment import Crop, cropped_mask
from edgeprune.data.decode import in_threads

IGNORED = 255  # value of a mask's pixels that count neither in the loss nor in a metric


class Targets:
    """Targets of a set of images, read by position; a subclass defines at least `kind`, `__len__` and `batch`.

    Attributes:
        kind: a task names the kind that it needs.
        spatial: whether a target lies on the image, so that a crop changes it; such images are read whole.
    """

    kind: ClassVar[str] = ""
    spatial: ClassVar[bool] = True

    def __len__(self) -> int:
        """Return the number of images."""
        raise NotImplementedError

    def batch(self, positions: np.ndarray, crops: Sequence[Crop]) -> Any:
        """Return the targets of a batch.

        Args:
            positions: of its images.
            crops: what became of each image on its way to the model.
        """
        raise NotImplementedError

    def strata(self) -> np.ndarray:
        """Return an int for each position: splits take a share of every value."""
        return np.zeros(len(self), np.int64)


class Labels(Targets):
    """A class for each image.

    Args:
        values: int64, shape (N,).
    """

    kind = "labels"
    spatial = False

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.values)

    def batch(self, positions: np.ndarray, crops: Sequence[Crop]) -> Tensor:  # noqa: ARG002
        """Return the labels of a batch, int64 (N,), whatever the crops are."""
        return torch.from_numpy(self.values[positions])

    def strata(self) -> np.ndarray:
        """Return the labels, so that splits keep the classes' shares."""
        return self.values


class Masks(Targets):
    """A class for each pixel, `IGNORED` for pixels that do not count.

    Args:
        count: of images.
        read: returns the mask of a position, (H, W) of any integer dtype.
        slow: whether masks of a batch are worth reading in several threads.
    """

    kind = "masks"

    def __init__(self, count: int, read: Callable[[int], Tensor], *, slow: bool = False) -> None:
        self._count, self._read, self._slow = count, read, slow

    def __len__(self) -> int:
        """Return the number of images."""
        return self._count

    def batch(self, positions: np.ndarray, crops: Sequence[Crop]) -> Tensor:
        """Return the masks of a batch, int64 (N, H, W), cropped as the images were."""
        jobs = list(zip(positions.tolist(), crops, strict=True))
        if not self._slow:
            return torch.stack([self._cropped(job) for job in jobs]).long()
        return torch.stack(in_threads(self._cropped, jobs)).long()

    def _cropped(self, job: tuple[int, Crop]) -> Tensor:
        position, crop = job
        return cropped_mask(self._read(position), crop, IGNORED)


def moved(target: Any, device: Any) -> Any:
    """Return a batch's target on a device: a tensor, or lists, tuples and dicts of tensors."""
    if isinstance(target, Tensor):
        return target.to(device)
    if isinstance(target, (list, tuple)):
        return type(target)([moved(part, device) for part in target])
    if isinstance(target, dict):
        return {name: moved(part, device) for name, part in target.items()}
    return target
