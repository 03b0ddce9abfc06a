"""Hold what a backend converts: a model, its shape, and images to compare and calibrate on."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprune.errors import ExportError
from edgeprune.tasks import Classification, Task

if TYPE_CHECKING:
    from torch import nn

    from edgeprune.backends.flat import Example
    from edgeprune.quantization.trained import Trained

CALIBRATION_IMAGES = 512  # NVIDIA's documents speak of about 500 for ImageNet
Batches = Callable[[], Iterable[tuple[Any, Any]]]


def no_images() -> Iterable[tuple[Any, Any]]:
    """Return no batches: for a file that is measured alone."""
    return ()


@dataclass(frozen=True)
class Job:
    """One model to export.

    Attributes:
        model: in eval mode, on the CPU.
        name: of the files: "baseline", "pruned", or "model" for one alone.
        shape: (C, H, W) of one image.
        folder: for the files; it holds the files of the backends that this one needs.
        images: gives (float32 (N, C, H, W), labels) batches held out of training, to compare on.
        calibration: gives such batches of training images, to find ranges on.
        weights_sha256: digest of the model's weights.
        task: says what of an output is compared, and when two agree.
        trained: constants and ranges of its int8, from quantisation-aware training; None without it.
        precisions: layer -> the precision that a run chose for it; None where it chose none.
        metadata: texts that the ONNX file holds, such as how its images are laid.
        example: what forward is given, for a model that takes something else than a batch of images of ``shape``, or
            returns something else than one tensor; ``images`` are then forward's arguments.
    """

    model: "nn.Module"
    name: str
    shape: tuple[int, ...]
    folder: Path
    images: Batches = no_images
    calibration: Batches = no_images
    weights_sha256: str | None = None
    task: Task = field(default_factory=Classification)
    trained: "Trained | None" = None
    precisions: Mapping[str, str] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    example: "Example | None" = None


def calibration_batches(batches: Batches, limit: int) -> list[np.ndarray]:
    """Return batches of float32 images, ``limit`` in all where there are as many.

    Raises:
        ExportError: there are none.
    """
    chosen: list[np.ndarray] = []
    for batch in pictures(batches, limit):
        chosen.append(batch[: limit - sum(map(len, chosen))])
    if not chosen:
        raise ExportError("there are no images to calibrate int8 on")
    return chosen


def pictures(batches: Batches, limit: int) -> Iterator[np.ndarray]:
    """Yield batches of float32 images, labels left out, until there are at least ``limit``."""
    count = 0
    for batch, _ in batches():
        if count >= limit:
            return
        count += len(batch)
        yield np.asarray(batch, dtype=np.float32)
