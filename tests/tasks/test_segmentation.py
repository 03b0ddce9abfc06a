import numpy as np
import pytest
import torch
from torch.nn import functional as F

from edgeprune import tasks
from edgeprune.data.targets import IGNORED, Masks
from edgeprune.errors import ModelError, TrainError
from edgeprune.tasks import Segmentation
from edgeprune.tasks.losses import soft_labels_loss
from edgeprune.tasks.segmentation import metrics_of

TASK = Segmentation()


def logits_for(predicted: torch.Tensor, classes: int) -> torch.Tensor:
    return F.one_hot(predicted, classes).movedim(-1, 1).float() * 5


def test_it_needs_masks() -> None:
    assert TASK.target_kind == Masks.kind
    assert tasks.for_targets("masks").name == "segment"
    with pytest.raises(TrainError, match="no task takes smells"):
        tasks.for_targets("smells")


def test_mean_iou_by_hand() -> None:
    target = torch.tensor([[[0, 0, 1], [1, 2, IGNORED]]])
    predicted = torch.tensor([[[0, 1, 1], [1, 2, 0]]])
    meter = TASK.meter()
    meter.add({"out": logits_for(predicted, 4)}, target)
    # Class 0: 1 of 2; class 1: 2 of 3; class 2: 1 of 1; class 3 does not occur; 4 of 5 pixels are right.
    assert meter.values() == pytest.approx({"mean_iou": (1 / 2 + 2 / 3 + 1) / 3, "pixel_accuracy": 4 / 5})


def test_batches_are_counted_together_and_not_averaged() -> None:
    target = torch.tensor([[[0, 0, 0, 1]], [[1, 1, 1, 1]]])
    logits = logits_for(torch.tensor([[[0, 0, 0, 0]], [[1, 1, 1, 1]]]), 2)
    meter = TASK.meter()
    for image in range(2):
        meter.add(logits[image : image + 1], target[image : image + 1])
    assert meter.values()["mean_iou"] == pytest.approx((3 / 4 + 4 / 5) / 2)


def test_pixels_that_are_not_numbers_are_wrong() -> None:
    logits = logits_for(torch.zeros(1, 1, 2, dtype=torch.int64), 2)
    logits[0, :, 0, 1] = float("nan")
    meter = TASK.meter()
    meter.add(logits, torch.zeros(1, 1, 2, dtype=torch.int64))
    assert meter.values() == {"mean_iou": 0.5, "pixel_accuracy": 0.5}
    assert TASK.agreement(logits, logits) == 0.5


def test_nothing_seen_is_no_score() -> None:
    assert TASK.meter().values() == {"mean_iou": 0.0, "pixel_accuracy": 0.0}
    assert metrics_of(np.array([[0, 0], [0, 7]]))["mean_iou"] == 1.0


def test_the_loss_is_the_mean_over_pixels_that_count_and_half_of_an_auxiliary_head() -> None:
    torch.manual_seed(0)
    out, aux = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    target = torch.randint(0, 3, (2, 4, 4))
    target[0, :2] = IGNORED
    expected = [F.cross_entropy(logits, target, ignore_index=IGNORED) for logits in (out, aux)]
    assert float(TASK.loss({"out": out, "aux": aux}, target)) == pytest.approx(
        float(expected[0] + 0.5 * expected[1]), rel=1e-5
    )
    assert float(TASK.loss(out, target)) == pytest.approx(float(expected[0]), rel=1e-5)
    assert float(TASK.loss(out, torch.full_like(target, IGNORED))) == 0.0


def test_a_teacher_is_followed_at_each_pixel() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    pixels = [soft_labels_loss(student[:, :, y, x], teacher[:, :, y, x]) for y in range(4) for x in range(5)]
    assert float(TASK.distill({"out": student}, {"out": teacher})) == pytest.approx(
        float(sum(pixels)) / 20, rel=1e-5
    )


def test_a_classifier_does_not_fit() -> None:
    class Data:
        classes, shape = ("a", "b"), (3, 8, 8)

    TASK.check_output({"out": torch.zeros(2, 2, 8, 8)}, Data, images=2, model="m")  # type: ignore[arg-type]
    with pytest.raises(
        ModelError, match=r"m gives \(2,\) for an image, the task segment needs .*\(2, 8, 8\).*lraspp"
    ):
        TASK.check_output(torch.zeros(2, 2), Data, images=2, model="m")  # type: ignore[arg-type]
