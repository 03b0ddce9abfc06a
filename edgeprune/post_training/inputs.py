"""Unlabelled inputs of a network: a folder of images, arrays, or a factory of batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from edgeprune.errors import DataError
from edgeprune.post_training.arrays import Arrays, arrays_of, made_by
from edgeprune.post_training.early_checks import ARRAYS, check_place
from edgeprune.post_training.images import ImageFolder
from edgeprune.post_training.options import PruneOptions
from edgeprune.post_training.source import InputSpec, Source

FEWEST = 10  # inputs: with fewer, neither a fit nor a comparison says anything


@dataclass(frozen=True)
class Inputs:
    """The inputs that are fitted and compared on, each tensor with one entry for each of them.

    Attributes:
        tensors: one for each input of the network.
        source: where they come from, which may have more.
        order: positions in the source as the seed orders them; the first are those of the tensors.
    """

    tensors: tuple[Tensor, ...]
    source: Source
    order: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.tensors[0])

    @property
    def note(self) -> str:
        """What they are."""
        return f"{len(self)} {self.source.note}"

    def batches(self, size: int, first: int = 0, last: int | None = None) -> list[tuple[Tensor, ...]]:
        """Return batches of inputs.

        Args:
            size: inputs of a batch.
            first: index of the first input.
            last: index after the last; None for all.
        """
        end = len(self) if last is None else last
        return [
            tuple(tensor[start : min(start + size, end)] for tensor in self.tensors)
            for start in range(first, end, size)
        ]


def open_source(place: str, specs: Sequence[InputSpec], options: PruneOptions) -> Source:
    """Return the inputs that are at a place.

    Args:
        place: a folder of images, an .npy or .npz file, or package.module:factory.
        specs: the network's inputs.
        options: how images are to be laid, and how many are used.

    Raises:
        DataError: there are none, or they do not fit.
    """
    check_place(place)
    path = Path(place)
    if path.is_dir():
        return ImageFolder(path, specs, options)
    if path.suffix in ARRAYS and path.exists():
        return Arrays(arrays_of(path, specs), specs, place, f"arrays of {path}")
    most = max(options.limit, options.distill_limit if options.distills else 0)
    return Arrays(made_by(place, specs, most), specs, place, f"inputs of {place}")


def load_inputs(place: str, specs: Sequence[InputSpec], options: PruneOptions) -> Inputs:
    """Read inputs, at most ``options.limit``, in an order that the seed gives.

    Args:
        place: a folder of images, an .npy or .npz file, or package.module:factory.
        specs: the network's inputs.
        options: how images are to be laid, and how many are used.

    Raises:
        DataError: there are none, too few, or they do not fit.
    """
    source = open_source(place, specs, options)
    if len(source) < FEWEST:
        raise DataError(
            f"{place} has {len(source)} inputs: at least {FEWEST} are needed, and 200 to 1,000 are good"
        )
    order = np.random.default_rng(options.seed).permutation(len(source))
    return Inputs(source.read(order[: options.limit]), source, order)
