"""Least squares with few samples: the ridge is the one that does best on samples that were left out of the fit."""

from dataclasses import dataclass

import torch
from torch import Tensor

RIDGES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-6)  # of the mean square of an input
LEAST = RIDGES[-1]  # keeps the fit solvable with duplicate channels
PLENTY = 32  # samples for each unknown: with as many there is no need to look for a ridge


@dataclass
class Products:
    """Sums over samples of what a layer reads and of what its output misses.

    Attributes:
        left: (groups, k, k) products of the inputs.
        right: (groups, k, outputs of a group) products of the inputs with what is missing.
        energy: sum of the squares of what is missing.
        samples: their number.
    """

    left: Tensor
    right: Tensor
    energy: float
    samples: int

    @classmethod
    def of(cls, rows: Tensor, missing: Tensor) -> "Products":
        """Return the sums over samples.

        Args:
            rows: (groups, samples, k), what is read.
            missing: (groups, samples, outputs of a group).
        """
        turned = rows.transpose(1, 2)
        return cls(turned @ rows, turned @ missing, float(missing.square().sum()), rows.shape[1])

    def __add__(self, other: "Products") -> "Products":
        return Products(
            self.left + other.left, self.right + other.right, self.energy + other.energy, self.samples + other.samples
        )  # fmt: skip

    def change(self, ridge: float) -> Tensor:
        """Return D of min ||missing - X D||^2 + ridge ||D||^2, (groups, k, outputs of a group).

        Args:
            ridge: as a fraction of the mean diagonal of ``left``.
        """
        left = self.left.clone()
        diagonal = left.diagonal(dim1=1, dim2=2)
        diagonal.add_(ridge * diagonal.mean(1, keepdim=True) + 1e-12)
        factor, failed = torch.linalg.cholesky_ex(left)
        return (
            torch.linalg.solve(left, self.right)
            if bool(failed.any())
            else torch.cholesky_solve(self.right, factor)
        )

    def left_over(self, change: Tensor) -> float:
        """Return the sum of squares of what is still missing after a change of the weights."""
        explained = (change * (2 * self.right - self.left @ change)).sum()
        return self.energy - float(explained)


def best_change(parts: tuple[Products, Products]) -> Tensor | None:
    """Return the change of the weights that best makes up for what is missing; None where none does.

    Few samples for many unknowns, such as the one position of each image behind a global pooling, are fitted with
    all of their noise. Each half of the samples therefore says which ridge would have been best for a fit on the
    other, and nothing is changed where that would have been better.

    Args:
        parts: sums over each half of the samples, which come from different inputs.
    """
    both = parts[0] + parts[1]
    if both.samples >= PLENTY * both.left.shape[1]:
        return both.change(LEAST)
    best, least = None, both.energy
    for ridge in RIDGES:
        left_over = sum(
            test.left_over(fit.change(ridge))
            for fit, test in (parts, parts[::-1])
            if test.samples and fit.samples
        )
        if left_over >= least:
            if best is not None:
                break
            continue
        best, least = ridge, left_over
    return None if best is None else both.change(best)
