"""How far two networks give the same on the same inputs, without labels."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from edgeprune.recording.values import tensors_of
from edgeprune.records.pruning import Agreement


def outputs_of(network: nn.Module, batches: Iterable[tuple[Tensor, ...]]) -> list[Tensor]:
    """Return each output of a network for all inputs, one after another: (inputs, n) each."""
    parts: list[list[Tensor]] = []
    with torch.no_grad():
        for batch in batches:
            parts.append(list(tensors_of(network(*batch))))
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
    return Agreement(top1=top1, relative_error=difference / max(spread, 1e-30), inputs=len(first))
