"""DataBundle: one data set as batches, the same bytes for the same seed, epoch and position."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgeprune.data.augment import generator_for, normalised
from edgeprune.data.images import Images
from edgeprune.errors import DataError, known

Batch = tuple[Tensor, Any]  # images, and their targets: a tensor, or whatever the task takes


@dataclass(frozen=True, eq=False)
class Split:
    """Positions of images, in the fixed order in which they are read."""

    images: Images
    positions: np.ndarray

    @property
    def strata(self) -> np.ndarray:
        """The stratum of each position, int64: of labelled images their labels."""
        return self.images.targets.strata()[self.positions]


@dataclass(frozen=True, eq=False)
class DataBundle:
    """A data set: its classes, shape and statistics, and its batches of images and targets.

    ``shape`` is (C, H, W) of one image, ``mean`` and ``std`` are per channel for images in [0, 1];
    ``notes`` are remarks a user should see, such as how a test split came about.
    """

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    splits: dict[str, Split] = field(repr=False)
    recipe: dict[str, Any] = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The kind of its targets: "labels", "masks" ...; see `edgeprune.data.targets`."""
        return self.splits["train"].images.targets.kind

    @property
    def sizes(self) -> dict[str, int]:
        """Images per split: train, val, test."""
        return {name: len(split.positions) for name, split in self.splits.items()}

    def spec(self) -> dict[str, Any]:
        """Return what `load_from_spec` needs to rebuild this bundle, its splits included, as plain JSON values."""
        return dict(self.recipe)

    def steps(self, batch_size: int) -> int:
        """Return the batches per training epoch: a short last batch is dropped, unless it is the only one."""
        return max(1, self.sizes["train"] // batch_size)

    def train_batches(self, epoch: int, *, batch_size: int, seed: int, skip: int = 0) -> Iterator[Batch]:
        """Yield shuffled, augmented training batches, a pure function of (seed, epoch, position).

        Args:
            epoch: which pass over the images, from 0.
            batch_size: images per batch; if the split has fewer, all of them form the only batch.
            seed: seed of shuffling and augmentation.
            skip: batches to leave out at the start of a resumed epoch; they are not read.

        Yields:
            (float32 (N, C, H, W) normalised, the targets, such as int64 labels (N,)).
        """
        split = self.splits["train"]
        order = torch.randperm(len(split.positions), generator=generator_for(seed, epoch)).numpy()
        jobs = []
        for step in range(skip, self.steps(batch_size)):
            chosen = split.positions[order[step * batch_size : (step + 1) * batch_size]]
            jobs.append(partial(self._batch, split.images, chosen, (seed, epoch, step)))
        return _fetched(jobs, ahead=split.images.ahead)

    def batches(self, split: str, *, batch_size: int = 256, limit: int | None = None) -> Iterator[Batch]:
        """Yield batches in a fixed order that mixes the classes, without augmentation.

        Args:
            split: "train", "val" or "test".
            batch_size: images per batch; the last may be shorter.
            limit: use only the first ``limit`` images; all by default.

        Yields:
            (float32 (N, C, H, W) normalised, the targets, such as int64 labels (N,)).

        Raises:
            DataError: for an unknown split.
        """
        if split not in self.splits:
            raise DataError(known("split", split, list(self.splits)))
        images, positions = self.splits[split].images, self.splits[split].positions[:limit]
        jobs = []
        for start in range(0, len(positions), batch_size):
            chosen = positions[start : start + batch_size]
            jobs.append(partial(self._batch, images, chosen))
        return _fetched(jobs, ahead=images.ahead)

    def _batch(self, images: Images, positions: np.ndarray, key: tuple[int, ...] | None = None) -> Batch:
        """Return a batch, augmented by draws that depend on ``key`` alone if there is one."""
        pixels, crops = images.read(positions, generator_for(*key) if key else None)
        return normalised(pixels, self.mean, self.std), images.targets.batch(positions, crops)


def _fetched(jobs: Sequence[Callable[[], Batch]], *, ahead: bool) -> Iterator[Batch]:
    """Run the jobs in order; with ``ahead`` the next batch is read in a thread while one is being used."""
    if not ahead:
        for job in jobs:
            yield job()
        return
    with ThreadPoolExecutor(1) as pool:
        pending = None
        for job in jobs:
            next_batch = pool.submit(job)
            if pending is not None:
                yield pending.result()
            pending = next_batch
        if pending is not None:
            yield pending.result()
