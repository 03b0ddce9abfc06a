"""Read a sysfs file with one number, kept open: opening it for each reading would cost more than the reading."""

from __future__ import annotations

import os
from pathlib import Path


class NumberFile:
    """A file with a number, read by a call."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.handle: int | None = None

    def __call__(self) -> int:
        """Return the current number.

        Raises:
            OSError: it cannot be read; a part of the chip without power gives EAGAIN.
            ValueError: it is not a number of 64 bits.
        """
        if self.handle is None:
            self.handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        number = int(os.pread(self.handle, 64, 0))
        if abs(number) >= 2**63:
            raise ValueError(f"{self.path} holds {number}, which no register can")
        return number

    def close(self) -> None:
        """Close the file; the next reading opens it again."""
        if self.handle is not None:
            os.close(self.handle)
        self.handle = None
