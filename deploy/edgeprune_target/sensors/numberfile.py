"""A sysfs file with one number in it, kept open: opening it anew for each reading would cost more than it."""

from __future__ import annotations

import os
from pathlib import Path


class NumberFile:
    """Read it by calling it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.handle: int | None = None

    def __call__(self) -> int:
        """The number now.

        Raises:
            OSError: it cannot be read; a part of the chip without power answers EAGAIN.
            ValueError: it is no number.
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
