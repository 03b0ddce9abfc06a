"""What inputs are read from, by position."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class InputSpec:
    """One input of a network: its name, and its sizes, None where any size is taken."""

    name: str
    shape: tuple[int | None, ...]
    dtype: torch.dtype = torch.float32

    def __str__(self) -> str:
        return f"{self.name} ({', '.join('?' if size is None else str(size) for size in self.shape)})"


class Source(Protocol):
    """Inputs that are read by position.

    Attributes:
        note: what they are, after their number.
        images: whether they are images with the colors first, which may be moved and mirrored.
    """

    note: str
    images: bool

    def __len__(self) -> int:
        """Return the number of inputs."""

    def read(self, positions: NDArray[np.int64]) -> tuple[Tensor, ...]:
        """Return inputs, one tensor for each input of the network."""
