"""What a reader of data hands over, before any validation split is made."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgeprune.data.decode import Progress
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
    """Train and test images; ``test`` is None where it must be held out of ``train``."""

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


def fingerprint_of(parts: Iterable[str]) -> str:
    """sha256 of the parts in order: tells whether a data set still holds the same images."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()
