"""Data sets known by name: scikit-learn's digits, and CIFAR through torchvision."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgeprune.data.augment import RGB_MEAN, RGB_STD
from edgeprune.data.canvases import DIGITS_TEST, Canvases
from edgeprune.data.images import MemoryImages
from edgeprune.data.source import ReadOptions, Source, fingerprint_of
from edgeprune.data.split import stratified_split
from edgeprune.data.targets import Labels, Masks, Targets
from edgeprune.errors import DataError

DIGIT_NAMES = tuple(str(digit) for digit in range(10))
CACHE = Path("~/.cache/edgeprune")
CANVASES = {"train": 800, "test": 200}
CANVAS_SIDE = 96
CANVAS_SHIFT = 8
CANVAS_MEAN, CANVAS_STD = (0.24,) * 3, (0.15,) * 3  # of the training canvases
DIGITS_SHIFT = 3  # pixels of 32: the strokes fill the frame, so the usual 4 would cut them


def read_digits(options: ReadOptions) -> Source:
    """Read scikit-learn's 1797 handwritten digits, 8x8 grey enlarged to 32x32 in three equal channels."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    labels = digits.target.astype(np.int64)
    pixels = _enlarged(torch.from_numpy(digits.images).float())
    train, test = stratified_split(labels, DIGITS_TEST, seed=0)
    side = options.image_size or 32
    mean, std = _grey_statistics(pixels[train])

    def images(positions: np.ndarray) -> MemoryImages:
        kept = pixels[torch.from_numpy(positions)]
        size = (side, side)
        return MemoryImages(Labels(labels[positions]), lambda: kept, size=size, pad=DIGITS_SHIFT, flip=False)

    return Source(
        name="digits",
        classes=DIGIT_NAMES,
        shape=(3, side, side),
        mean=mean,
        std=std,
        train=images(train),
        test=images(test),
        fingerprint=fingerprint_of([str(labels[train].tolist()), str(labels[test].tolist())]),
    )


def _enlarged(grey: Tensor) -> Tensor:
    """Enlarge values 0..16, (N, 8, 8), to uint8 (N, 3, 32, 32) by bilinear interpolation."""
    large = F.interpolate(grey[:, None] * (255 / 16), size=(32, 32), mode="bilinear")
    return large.round().to(torch.uint8).expand(-1, 3, -1, -1).contiguous()


def _grey_statistics(pixels: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    values = pixels[:, 0].double() / 255
    # Four digits, so that the summation order of another machine does not change the numbers.
    return (round(values.mean().item(), 4),) * 3, (round(values.std().item(), 4),) * 3


def read_cifar(dataset: str, options: ReadOptions) -> Source:
    """Read CIFAR-10 or -100 (``dataset`` is torchvision's class name), 32x32 RGB, Krizhevsky 2009."""
    train = _torchvision(dataset, True, options)
    test = _torchvision(dataset, False, options)
    side = options.image_size or 32
    return Source(
        name=dataset.lower(),
        classes=tuple(train.classes),
        shape=(3, side, side),
        mean=RGB_MEAN,
        std=RGB_STD,
        train=_cifar_images(train, side),
        test=_cifar_images(test, side),
        fingerprint=fingerprint_of([str(list(train.targets)), str(list(test.targets))]),
    )


def _cifar_images(part: Any, side: int) -> MemoryImages:
    pixels = torch.from_numpy(np.ascontiguousarray(part.data.transpose(0, 3, 1, 2)))
    labels = np.asarray(part.targets, np.int64)
    return MemoryImages(Labels(labels), lambda: pixels, size=(side, side), pad=4, flip=True)


def _torchvision(dataset: str, train: bool, options: ReadOptions) -> Any:
    from torchvision import datasets

    root = (options.root or CACHE).expanduser()
    try:
        return getattr(datasets, dataset)(root, train=train, download=options.download)
    except OSError as error:
        raise DataError(f"cannot download {dataset.lower()} into {root}: {error}") from error
    except RuntimeError as error:
        raise DataError(
            f"{dataset.lower()} is not in {root}: pass `download` to fetch it, "
            "or give `data` the path of a folder of images"
        ) from error


def read_digits_segment(options: ReadOptions) -> Source:
    """Read canvases of handwritten digits with a class for each pixel: background, or the digit whose ink it is."""

    def masks(canvases: Canvases, count: int) -> Targets:
        return Masks(count, lambda position: canvases.masks[position])

    return _canvases("digits-segment", ("background", *DIGIT_NAMES), masks, options)


def read_digits_detect(options: ReadOptions) -> Source:
    """Read canvases of handwritten digits with a box around each digit."""
    from edgeprune.data.boxes import Boxes

    def boxes(canvases: Canvases, count: int) -> Targets:
        return Boxes(
            count, lambda position: (canvases.scenes[position].boxes, canvases.scenes[position].labels)
        )

    return _canvases("digits-detect", DIGIT_NAMES, boxes, options)


def _canvases(
    name: str, classes: tuple[str, ...], targets: Callable[[Canvases, int], Targets], options: ReadOptions
) -> Source:
    """Return handwritten digits on canvases as a data set.

    Args:
        name: of the data set.
        classes: their names.
        targets: makes the targets of so many canvases.
        options: with the side of an image.
    """
    side = options.image_size or CANVAS_SIDE

    def images(part: str) -> MemoryImages:
        count = CANVASES[part]
        canvases = Canvases(part, count, CANVAS_SIDE)
        return MemoryImages(
            targets(canvases, count), lambda: canvases.pixels, size=(side, side), pad=CANVAS_SHIFT, flip=False
        )

    return Source(
        name=name,
        classes=classes,
        shape=(3, side, side),
        mean=CANVAS_MEAN,
        std=CANVAS_STD,
        train=images("train"),
        test=images("test"),
        fingerprint=fingerprint_of([f"canvases 1 {CANVASES} {CANVAS_SIDE}"]),
    )


READERS: dict[str, Callable[[ReadOptions], Source]] = {
    "digits": read_digits,
    "cifar10": partial(read_cifar, "CIFAR10"),
    "cifar100": partial(read_cifar, "CIFAR100"),
    "digits-segment": read_digits_segment,
    "digits-detect": read_digits_detect,
}
