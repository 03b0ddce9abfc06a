"""DataBundle: one data set as batches, the same bytes for the same seed, epoch and position."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgeprune.data.augment import generator_for, normalised
from edgeprune.data.images import Images
from edgeprune.data.loading import Loader, Request
from edgeprune.errors import DataError, known
from edgeprune.processes.distributed import World

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
    ``notes`` are remarks a user should see, such as how a test split came about; ``workers`` is the number of
    processes that read images from files (0: threads; None: what suits the machine).
    """

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    splits: dict[str, Split] = field(repr=False)
    recipe: dict[str, Any] = field(repr=False)
    notes: tuple[str, ...] = ()
    workers: int | None = 0

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

    def train_batches(
        self,
        epoch: int,
        *,
        batch_size: int,
        seed: int,
        skip: int = 0,
        limit: int | None = None,
        world: World | None = None,
        device: str = "cpu",
    ) -> Iterator[Batch]:
        """Yield shuffled, augmented training batches, a pure function of (seed, epoch, position).

        Args:
            epoch: which pass over the images, from 0.
            batch_size: images per batch; if the split has fewer, all of them form the only batch.
            seed: seed of shuffling and augmentation.
            skip: batches to leave out at the start of a resumed epoch; they are not read.
            limit: number of the batch to end before; the epoch's last by default.
            world: the processes that share each batch, of which this one reads its slice alone; one by default.
            device: torch's, to which the images are moved.

        Yields:
            (float32 (N, C, H, W) normalised, on the device; the targets, such as int64 labels (N,)).

        Raises:
            DataError: there are more processes than images in a batch.
        """
        split, world = self.splits["train"], world or World()
        order = torch.randperm(len(split.positions), generator=generator_for(seed, epoch)).numpy()
        steps, requests = self.steps(batch_size), []
        for step in range(skip, steps if limit is None else min(limit, steps)):
            chosen = split.positions[order[step * batch_size : (step + 1) * batch_size]]
            if len(chosen) < world.size:
                raise DataError(
                    f"a batch of {len(chosen)} images has none for each of {world.size} processes: raise `batch_size`"
                )
            requests.append(Request("train", chosen, (seed, epoch, step), world.part(len(chosen))))
        return self._read(requests, device)

    def batches(
        self, split: str, *, batch_size: int = 256, limit: int | None = None, device: str = "cpu"
    ) -> Iterator[Batch]:
        """Yield batches in a fixed order that mixes the classes, without augmentation.

        Args:
            split: "train", "val" or "test".
            batch_size: images per batch; the last may be shorter.
            limit: use only the first ``limit`` images; all by default.
            device: torch's, to which the images are moved.

        Yields:
            (float32 (N, C, H, W) normalised, on the device; the targets, such as int64 labels (N,)).

        Raises:
            DataError: for an unknown split.
        """
        if split not in self.splits:
            raise DataError(known("split", split, list(self.splits)))
        positions = self.splits[split].positions[:limit]
        starts = range(0, len(positions), batch_size)
        return self._read([Request(split, positions[start : start + batch_size]) for start in starts], device)

    @cached_property
    def _loader(self) -> Loader:
        images = {name: split.images for name, split in self.splits.items()}
        return Loader(images, math.prod(self.shape), self.workers)

    def _read(self, requests: Sequence[Request], device: str) -> Iterator[Batch]:
        """Yield the batches of requests, normalised on the device: a quarter of the bytes is sent there."""
        for pixels, targets in self._loader.batches(requests, pinned=device.startswith("cuda")):
            yield normalised(pixels.to(device, non_blocking=True), self.mean, self.std), targets
