"""Distillation losses: a student learns from a teacher's logits, or from its boxes and their scores."""

import torch.nn.functional as F
from torch import Tensor

LEAST_PROBABILITY = 1e-6  # so that logarithms are finite
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


def soft_scores_loss(scores: Tensor, teacher: Tensor) -> Tensor:
    """Return the divergence of scores from a teacher's, each yes or no by itself, per object that it sees.

    That is the sum of KL(teacher || student) over all places and classes, divided by the sum of the teacher's best
    scores: most places show nothing, and a mean over them would be next to nothing, too.

    Args:
        scores: from 0 to 1, (N, places, classes).
        teacher: the teacher's scores, likewise.
    """
    student, soft = (
        tensor.float().clamp(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY) for tensor in (scores, teacher)
    )
    divergence = soft * (soft.log() - student.log())
    divergence = divergence + (1 - soft) * ((1 - soft).log() - (1 - student).log())
    return divergence.sum() / _best_scores(soft).sum()


def soft_boxes_loss(boxes: Tensor, teacher: Tensor, teacher_scores: Tensor) -> Tensor:
    """Return how far boxes are from a teacher's: smooth L1 of each side, over the teacher's width and height.

    Each place counts as much as the teacher's best score there.

    Args:
        boxes: x1, y1, x2, y2, (N, places, 4).
        teacher: the teacher's boxes, likewise.
        teacher_scores: from 0 to 1, (N, places, classes).
    """
    size = (teacher[..., 2:] - teacher[..., :2]).clamp(min=1.0).repeat(1, 1, 2)
    distance = F.smooth_l1_loss(boxes / size, teacher / size, reduction="none").sum(-1)
    best = _best_scores(teacher_scores)
    return (best * distance).sum() / best.sum().clamp(min=LEAST_PROBABILITY)


def _best_scores(scores: Tensor) -> Tensor:
    """Return how sure the teacher is that it sees something at each place, (N, places)."""
    return scores.float().amax(-1)
