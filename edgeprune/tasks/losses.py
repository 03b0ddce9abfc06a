"""What a student learns from a teacher's logits."""

import torch.nn.functional as F
from torch import Tensor

TEMPERATURE = 4.0  # methods.md, section 6: measured for small students


def soft_labels_loss(logits: Tensor, teacher: Tensor) -> Tensor:
    """Return T^2 KL(softmax(teacher / T) || softmax(logits / T)), T = 4.

    Source: Hinton et al., Distilling the Knowledge in a Neural Network, 2015.

    Args:
        logits: (N, classes).
        teacher: (N, classes) to learn from.
    """
    student = F.log_softmax(logits.float() / TEMPERATURE, dim=1)
    wanted = F.log_softmax(teacher.float() / TEMPERATURE, dim=1)
    return F.kl_div(student, wanted, log_target=True, reduction="batchmean") * TEMPERATURE**2
