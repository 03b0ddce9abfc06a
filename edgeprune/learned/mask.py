"""The continuous mask: pure functions of the pruning-model's output. Source: see pruning_model.py."""

import torch
from torch import Tensor

OFFSET = 1.15  # the source's value: masks start well above zero
SHARE = 0.7  # of the mean of the masks, subtracted when several layers agree on one
FLOOR_VALUE = 0.05  # a channel that the floor keeps on still passes a signal, so that it can recover


def evidence(y: Tensor) -> Tensor:
    """Return (BM(y) - M(y)) / (2 sqrt(V(y))), each channel's batch mean relative to all of y.

    Args:
        y: (..., N, C), a pruning-model's output.

    Returns:
        (..., C). M and V are mean and variance over all of y's last two axes.
    """
    variance = y.var(dim=(-2, -1), unbiased=False, keepdim=True).squeeze(-2)
    mean = y.mean(dim=(-2, -1), keepdim=True).squeeze(-2)
    return (y.mean(-2) - mean) / (2 * torch.sqrt(variance + 1e-12))


def continuous_mask(
    previous: Tensor, channel_evidence: Tensor, *, progress: float | Tensor, offset: float = OFFSET
) -> Tensor:
    """Return the mask before its ReLU: previous / 2 + evidence + offset - progress.

    Args:
        previous: (..., C), the last mask after its ReLU; carries no gradient.
        channel_evidence: (..., C), `evidence`; carries the task's gradient.
        progress: (iter + interacting) / max_iter; a number for all channels, or (..., C).
        offset: the higher, the more channels stay on.
    """
    return previous.detach() / 2 + channel_evidence + offset - progress


def shared_mask(masks: Tensor) -> Tensor:
    """Combine the masks of layers that read the same stream into one, before its ReLU.

    Args:
        masks: (K, C), each after its ReLU.

    Returns:
        (C,): their average less 0.7 of the mean of all of them.
    """
    return masks.mean(0) - SHARE * masks.mean()


def with_floor(before: Tensor, floor: int) -> Tensor:
    """Apply ReLU, but keep at least the ``floor`` largest channels at FLOOR_VALUE or more."""
    out = torch.relu(before)
    best = before.detach().topk(min(floor, len(before))).indices
    lifted = torch.clamp(out[best], min=FLOOR_VALUE)
    return out.index_copy(0, best, lifted)
