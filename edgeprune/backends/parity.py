"""Compare an exported file with the model it was made from: both run on the same images."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprune.errors import ExportError
from edgeprune.tasks import Classification, Task

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Parity:
    """The difference of two models' logits.

    Attributes:
        images: number of images that both were run on.
        top1_agreement: fraction, 0 to 1, that agrees by the task: of images with the same class, of pixels ...
        max_abs_diff: largest difference, in units of the logits.
        logit_scale: largest absolute logit of the reference.
        max_rel_diff: the first over the second.
    """

    images: int
    top1_agreement: float
    max_abs_diff: float
    logit_scale: float
    max_rel_diff: float

    @property
    def finite(self) -> bool:
        """Whether all logits are finite."""
        figures = (self.top1_agreement, self.max_abs_diff, self.logit_scale, self.max_rel_diff)
        return bool(np.isfinite(figures).all())


@dataclass(frozen=True)
class Tolerance:
    """The largest allowed difference of a file's logits from the reference's.

    Attributes:
        max_rel_diff: largest difference over the largest logit.
        top1_agreement: smallest fraction of images for which both predict the same class.
    """

    max_rel_diff: float
    top1_agreement: float

    def allows(self, parity: Parity) -> bool:
        """Return whether ``parity`` is within the tolerance; never for logits that are not finite."""
        within = parity.max_rel_diff <= self.max_rel_diff and parity.top1_agreement >= self.top1_agreement
        return parity.finite and within


# Two float32 programs that sum in another order differ by some 1e-6 of the logits; a wrong one by 1e-1. The rest of
# the images may be ties within the tolerance.
SAME_NUMBERS = Tolerance(1e-4, 0.99)


def parity_of(expected: np.ndarray, got: np.ndarray, task: Task | None = None) -> Parity:
    """Compare logits with those of the reference.

    Args:
        expected: of the reference, (N, classes, ...).
        got: of the file, the same shape.
        task: says when two outputs agree; classification by default.

    Raises:
        ExportError: their shapes differ.
    """
    if expected.shape != got.shape:
        raise ExportError(
            f"the exported model gives logits of shape {got.shape}, the reference of {expected.shape}"
        )
    import torch

    task = task or Classification()
    scale = float(np.abs(expected).max())
    difference = float(np.abs(expected.astype(np.float64) - got).max())
    return Parity(
        images=len(expected),
        top1_agreement=task.agreement(torch.from_numpy(expected), torch.from_numpy(got)),
        max_abs_diff=difference,
        logit_scale=scale,
        max_rel_diff=difference / scale if scale else difference,
    )


def torch_outputs(
    model: "nn.Module", images: Iterable[Any], task: Task | None = None
) -> Iterator[np.ndarray]:
    """Yield the logits of a model for each batch.

    Args:
        model: in eval mode and on the CPU.
        images: batches.
        task: says what of a model's output is compared; classification by default.
    """
    import torch

    task = task or Classification()
    for batch in images:
        with torch.inference_mode():
            yield task.outputs_of(model(batch)).numpy()
