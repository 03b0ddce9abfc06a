"""Accuracy on labelled images, where a user has some: they change nothing, and are read when all is done."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeprune.errors import DataError
from edgeprune.post_training.early_checks import check_labels
from edgeprune.post_training.images import ImageFolder
from edgeprune.post_training.options import PruneOptions
from edgeprune.post_training.source import InputSpec

BATCH = 64


class Labelled:
    """Images in one folder for each class, as torchvision's ImageFolder has them.

    Args:
        folder: with a folder for each class, whose names in order are the classes.
        specs: the network's inputs.
        options: how it wants images.
        batch: number of inputs that the network takes at once; None for any.

    Raises:
        DataError: there are no images, or some lie in no class's folder.
    """

    def __init__(
        self, folder: Path, specs: list[InputSpec], options: PruneOptions, batch: int | None = None
    ) -> None:
        check_labels(folder)
        self.folder, self._batch = folder, batch or BATCH
        self.source = ImageFolder(folder, specs, options)
        parts = [path.relative_to(folder).parts for path in self.source.paths]
        loose = next((path for path in parts if len(path) == 1), None)
        if loose is not None:
            raise DataError(f"`labels`: {folder / loose[0]} lies in no class's folder: move it into one")
        self.classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
        self._labels: NDArray[np.int64] = np.array([self.classes.index(path[0]) for path in parts])
        self.count = len(parts) if batch is None else len(parts) // batch * batch
        if not self.count:
            raise DataError(
                f"`labels`: {folder} has {len(parts)} images, and the network takes {batch} at once"
            )

    def check(self, outputs: Tensor) -> None:
        """Check that a network tells this many classes apart; raises DataError."""
        if outputs.dim() != 2 or outputs.shape[1] < len(self.classes):
            raise DataError(
                f"`labels`: {self.folder} has {len(self.classes)} classes, and the network gives "
                f"{tuple(outputs.shape[1:])} numbers for an image: leave it out"
            )

    def accuracy(self, network: nn.Module) -> float:
        """Return the share of images of which a network names the class."""
        right = 0
        with torch.no_grad():
            for start in range(0, self.count, self._batch):
                chosen = np.arange(start, min(start + self._batch, self.count))
                predicted = network(*self.source.read(chosen)).argmax(1).numpy()
                right += int((predicted == self._labels[chosen]).sum())
        return right / self.count
