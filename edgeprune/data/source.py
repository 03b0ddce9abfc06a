"""The result of a data reader, before the validation split is made."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgeprune.data.depth import Rendering
from edgeprune.data.images import Images
from edgeprune.processes.progress import ProgressCallback


@dataclass(frozen=True)
class ReadOptions:
    """How to read: where downloads are kept, whether to download, which size, the spec of an earlier run.

    ``in_memory`` says whether small images of one size are held decoded; None leaves it to their size.
    """

    root: Path | None = None
    download: bool = False
    image_size: int | None = None
    stored: dict | None = None  # the spec of the run being rebuilt
    progress: ProgressCallback | None = None
    in_memory: bool | None = None


@dataclass(frozen=True, eq=False)
class Source:
    """Train and test images; ``test`` is None where it must be held out of ``train``.

    ``left_out`` marks each image of train, and of test, that keeps its position but is not read.
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
    """Return the sha256 of the parts in order, which shows whether a data set still has the same images."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode("utf-8", "surrogateescape") + b"\0")  # a file name may be any bytes
    return digest.hexdigest()
