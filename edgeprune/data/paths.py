"""Paths of many files in two arrays: a million of Path objects take a quarter of a gigabyte in every process."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload

import numpy as np


class PackedPaths(Sequence[Path]):
    """A sequence of paths that worker processes share with their parent, since reading it changes no memory.

    Args:
        paths: in order.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        names = [os.fsencode(path) for path in paths]
        self._ends = np.cumsum([0, *map(len, names)])
        self._bytes = np.frombuffer(b"".join(names), np.uint8)

    def __len__(self) -> int:
        """Return the number of paths."""
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> "PackedPaths": ...
    def __getitem__(self, index: int | slice) -> "Path | PackedPaths":
        """Return a path, or the paths of a slice."""
        if isinstance(index, slice):
            return PackedPaths(self[at] for at in range(*index.indices(len(self))))
        index = range(len(self))[index]
        return Path(os.fsdecode(self._bytes[self._ends[index] : self._ends[index + 1]].tobytes()))
