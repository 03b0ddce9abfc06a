"""What a reader of data hands over, before any validation split is made."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgeprune.data.decode import Progress
from edgeprune.data.depth import Rendering
from edgeprune.data.images import Images


@dataclass(frozen=True)
class ReadOptions:
    """How to read: where downloads live, whether to fetch, which size, what an earlier run saw."""

    root: Path | None = None
    download: bool = False
    image_size: int | None = None
    stored: dict | None = None  # the spec of the run being rebuilt
    progress: Progress | None = None


@dataclass(frozen=True, eq=False)
class Source:
    """Train and test images; ``test`` is None where it must be held out of ``train``.

    ``left_out`` says of each image of train, and of test, whether it is in the order but not to be read.
    """

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train: Images
    test: Images | None
    fingerprint: str
    notes: tuple[str, ...] = ()
    native: tuple[int, int] | None = None  # (height, width) at which a folder's images are in memory
    rendering: Rendering = Rendering()
    left_out: tuple[np.ndarray, np.ndarray] = field(default_factory=lambda: (np.zeros(0, bool),) * 2)


def fingerprint_of(parts: Iterable[str]) -> str:
    """sha256 of the parts in order: tells whether a data set still holds the same images."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode("utf-8", "surrogateescape") + b"\0")  # a file name may be any bytes
    return digest.hexdigest()
