"""Distillation losses: a student learns from a teacher's logits."""

import torch.nn.functional as F
from torch import Tensor

TEMPERATURE = 4.0  # methods.md, section 6: measured for small students


def soft_labels_loss(logits: Tensor, teacher: Tensor) -> Tensor:
    """Return T^2 KL(softmax(teacher / T) || softmax(logits / T)), T = 4.

    Source: Hinton et al., Distilling the Knowledge in a Neural Network, 2015.

    Args:
        logits: (N, classes).
        teacher: the teacher's logits, (N, classes).
    """
    student = F.log_softmax(logits.float() / TEMPERATURE, dim=1)
    soft_labels = F.log_softmax(teacher.float() / TEMPERATURE, dim=1)
    return F.kl_div(student, soft_labels, log_target=True, reduction="batchmean") * TEMPERATURE**2
