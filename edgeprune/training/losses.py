"""What a step minimises: cross-entropy, and what the unpruned network says."""

import torch.nn.functional as F
from torch import Tensor

TEMPERATURE = 4.0
WEIGHT = 0.9  # of the teacher's word; methods.md, section 6: T=4, 0.9, measured for small students


def loss_of(
    logits: Tensor, labels: Tensor, teacher: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Mean loss over a batch.

    Args:
        logits: (N, classes).
        labels: (N,) int64.
        teacher: (N, classes) logits to distil from. With it the loss is
            (1 - w) CE + w T^2 KL(softmax(teacher / T) || softmax(logits / T)), T = 4, w = 0.9.
            Source: Hinton et al., Distilling the Knowledge in a Neural Network, 2015.
        label_smoothing: of the cross-entropy.

    Returns:
        A scalar.
    """
    hard = F.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)
    if teacher is None:
        return hard
    said = F.log_softmax(logits.float() / TEMPERATURE, dim=1)
    wanted = F.log_softmax(teacher.float() / TEMPERATURE, dim=1)
    soft = F.kl_div(said, wanted, log_target=True, reduction="batchmean") * TEMPERATURE**2
    return (1 - WEIGHT) * hard + WEIGHT * soft
