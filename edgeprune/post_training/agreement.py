"""How far two networks give the same on the same inputs, without labels."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Agreement:
    """What two networks give, compared on the same inputs.

    Attributes:
        top1: fraction of inputs of which both name the same class; None where the output is no vector of classes.
        error: squared difference of all outputs, as a fraction of their variance over the inputs.
        inputs: number of inputs.
    """

    top1: float | None
    error: float
    inputs: int

    @property
    def loss(self) -> float:
        """The share of inputs that change their class, or the relative error where there are no classes."""
        return self.error if self.top1 is None else 1 - self.top1

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"top1": self.top1, "relative_error": self.error, "inputs": self.inputs}

    def __str__(self) -> str:
        error = f"relative error {self.error:.4f}"
        return error if self.top1 is None else f"top-1 agreement {100 * self.top1:.2f} %, {error}"


def outputs_of(network: nn.Module, batches: Iterable[tuple[Tensor, ...]]) -> list[Tensor]:
    """Return each output of a network for all inputs, one after another."""
    parts: list[list[Tensor]] = []
    with torch.no_grad():
        for batch in batches:
            result = network(*batch)
            parts.append(list(result) if isinstance(result, tuple) else [result])
    return [
        torch.cat([part.reshape(len(part), -1) for part in column]) for column in zip(*parts, strict=True)
    ]


def compare(reference: Sequence[Tensor], outputs: Sequence[Tensor]) -> Agreement:
    """Return how far ``outputs`` are those of the reference network.

    Args:
        reference: (inputs, n) for each output.
        outputs: likewise.
    """
    difference = sum(
        float((a.double() - b.double()).square().sum()) for a, b in zip(reference, outputs, strict=True)
    )
    spread = sum(float((a.double() - a.double().mean(0)).square().sum()) for a in reference)
    first, other = reference[0], outputs[0]
    is_classes = len(reference) == 1 and 2 <= first.shape[1] <= 100_000
    top1 = float((first.argmax(1) == other.argmax(1)).double().mean()) if is_classes else None
    return Agreement(top1, difference / max(spread, 1e-30), len(first))
