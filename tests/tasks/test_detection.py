"""Detection: what is a detection, what agrees, and mean average precision by hand."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune.errors import ModelError
from edgeprune.models import build
from edgeprune.tasks.detection import Detection, Taught, detections_of

TASK = Detection()


def output(boxes: list[list[float]], scores: list[list[float]]) -> dict[str, torch.Tensor]:
    return {"boxes": torch.tensor([boxes]), "scores": torch.tensor([scores])}


TWO = output([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]], [[0.9, 0.0], [0.8, 0.7], [0.005, 0.6]])


def test_overlapping_boxes_of_one_class_are_one_detection() -> None:
    (result,) = detections_of(TWO)
    assert result["scores"].tolist() == pytest.approx([0.9, 0.7, 0.6])
    assert result["labels"].tolist() == [0, 1, 1]
    assert result["boxes"].tolist() == [[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]]


def test_scores_that_are_no_numbers_are_no_detections() -> None:
    (result,) = detections_of(output([[0, 0, 1, 1]], [[float("nan"), 0.5]]))
    assert result["labels"].tolist() == [1]


def test_ties_that_rounding_breaks_are_no_disagreement() -> None:
    torch.manual_seed(0)
    boxes = torch.rand(1, 400, 2) * 90
    boxes = torch.cat([boxes, boxes + 8], -1)
    tied = {"boxes": boxes, "scores": torch.full((1, 400, 3), 0.1)}
    rounded = {"boxes": boxes, "scores": tied["scores"] + 1e-7 * torch.randn(1, 400, 3)}
    first, second = (TASK.outputs_of(output) for output in (tied, rounded))
    assert TASK.agreement(first, second) == 1.0
    second[0, 0, :4] += 1.0  # one box elsewhere: then which are given counts
    assert TASK.agreement(first, second) < 0.99


def test_agreement_is_the_share_of_detections_that_both_give() -> None:
    two = TASK.outputs_of(TWO)
    assert two.shape == (1, 3, 6) and TASK.agreement(two, two) == 1.0
    nothing = output([[0, 0, 1, 1]], [[0.0, 0.0]])
    nothing = TASK.outputs_of(nothing)
    assert TASK.agreement(nothing, nothing) == 1.0
    assert TASK.agreement(two, nothing) == 0.0
    moved = {**TWO, "boxes": TWO["boxes"] + torch.tensor([[[0.0] * 4, [0.0] * 4, [3.0] * 4]])}
    assert TASK.agreement(two, TASK.outputs_of(moved)) == pytest.approx(4 / 6)
    weaker = {**TWO, "scores": TWO["scores"] - 0.1}
    assert TASK.agreement(two, TASK.outputs_of(weaker)) == 0.0


def test_map_by_hand() -> None:
    pytest.importorskip("torchmetrics", reason="mAP is torchmetrics'")
    pytest.importorskip("faster_coco_eval")
    truth = [
        {
            "boxes": torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0]]),
            "labels": torch.tensor([0, 1]),
        }
    ]
    meter = TASK.meter()
    meter.add(TWO, truth)
    values = meter.values()
    # Class 0 is right. Of class 1 the better of two detections is wrong: precision 1/2 at every recall.
    assert values["map_50"] == pytest.approx(0.75, abs=1e-3) and values["map"] == pytest.approx(
        0.75, abs=1e-3
    )
    half = output([[0, 0, 10, 7.4]], [[0.9, 0.0]])
    meter = TASK.meter()
    meter.add(half, [{"boxes": truth[0]["boxes"][:1], "labels": truth[0]["labels"][:1]}])
    # IoU 0.74: right at 0.5, 0.55 ... 0.7, five of ten thresholds.
    assert meter.values() == pytest.approx({"map": 0.5, "map_50": 1.0}, abs=1e-3)
    assert TASK.meter().values() == {"map": 0.0, "map_50": 0.0}


def test_models_that_do_not_fit() -> None:
    TASK.check_model("ssdlite320_mobilenet_v3_large")
    TASK.check_model("package.module:factory")
    for name in ("resnet20", "torchvision:resnet18", "lraspp_mobilenet_v3_large"):
        with pytest.raises(
            ModelError, match=f"{name} is no detector, which `task=detect` needs: choose ssdlite320"
        ):
            TASK.check_model(name)

    class Data:
        classes = ("a", "b")

    TASK.check_output(TWO, Data(), images=1, model="mine")  # type: ignore[arg-type]
    for wrong in (
        torch.zeros(1, 2),
        {"boxes": torch.zeros(1, 3, 4)},
        {**TWO, "scores": torch.zeros(1, 3, 5)},
    ):
        with pytest.raises(ModelError, match="a detector of 2 classes gives a dict of boxes"):
            TASK.check_output(wrong, Data(), images=1, model="mine")  # type: ignore[arg-type]


def test_the_best_hundred_of_many_boxes() -> None:
    rng = np.random.default_rng(0)
    corners = torch.from_numpy(rng.uniform(0, 1000, (1, 500, 2)).astype(np.float32))
    many = {
        "boxes": torch.cat([corners, corners + 2], 2),
        "scores": torch.from_numpy(rng.uniform(0, 1, (1, 500, 1))),
    }
    (result,) = detections_of(many)
    assert len(result["scores"]) == 100 and bool((result["scores"][1:] <= result["scores"][:-1]).all())


def test_a_student_is_as_far_from_its_teacher_as_its_scores_and_boxes_by_hand() -> None:
    teacher = output([[0, 0, 10, 20], [5, 5, 9, 9]], [[0.8, 0.5], [0.0, 0.0]])
    same = Taught({}, teacher)
    assert TASK.distill(same, teacher).item() == pytest.approx(0, abs=1e-6)
    # Half a yes where the teacher is sure by 0.8; what the teacher does not see counts in scores, not in boxes.
    student = output([[2, 0, 10, 40], [0, 0, 9, 9]], [[0.5, 0.5], [0.0, 0.2]])
    scores = 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5) - math.log(0.8)
    places = 0.5 * (2 / 10) ** 2 + (1 - 0.5)  # a fifth of the width on the left, one height at the bottom
    assert TASK.distill(Taught({}, student), teacher).item() == pytest.approx(scores / 0.8 + places, rel=1e-4)


def test_with_a_teacher_that_sees_nothing_boxes_do_not_count() -> None:
    nothing = output([[0, 0, 0, 0]], [[0.0, 0.0]])
    student = output([[0, 0, 5, 5]], [[0.0, 0.0]])
    assert TASK.distill(Taught({}, student), nothing).item() == pytest.approx(0, abs=1e-6)


def test_half_of_the_loss_is_the_teachers() -> None:
    teacher = output([[0, 0, 10, 10]], [[0.5]])
    student = Taught({"a": torch.tensor(3.0), "b": torch.tensor(1.0)}, output([[0, 0, 10, 10]], [[0.25]]))
    distance = (0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)) / 0.5
    assert TASK.loss(student, None).item() == 4.0
    assert TASK.total_loss(student, None, teacher).item() == pytest.approx(0.5 * 4 + 0.5 * distance, rel=1e-4)
    assert TASK.total_loss(student.losses, None).item() == 4.0


def test_a_student_gives_losses_and_output_in_one_pass() -> None:
    torch.manual_seed(0)
    model = build("ssdlite320_mobilenet_v3_large", num_classes=2, image_shape=(32, 32)).train()
    images = torch.randn(2, 3, 32, 32)
    target = [{"boxes": torch.tensor([[2.0, 2.0, 20.0, 20.0]]), "labels": torch.tensor([1])}] * 2
    passes: list[int] = []
    model.backbone.register_forward_hook(lambda *_: passes.append(1))
    taught = TASK.student_output(model, images, target)
    assert len(passes) == 1 and not model.head._forward_hooks
    expected = model(images, target)
    assert taught.losses.keys() == expected.keys()
    assert all(torch.allclose(taught.losses[name], expected[name]) for name in expected)
    assert taught.output["boxes"].shape == (2, len(model.anchors), 4)
    assert torch.allclose(taught.output["scores"], model.decoded(model(images))["scores"])
    TASK.distill(taught, {name: tensor.detach() for name, tensor in taught.output.items()}).backward()
    assert all(weight.grad is not None for weight in model.head.parameters())


class Silent(nn.Module):
    """Gives only losses while it is trained."""

    def forward(self, images: torch.Tensor, targets: object = None) -> object:
        return {"loss": images.sum()} if self.training else TWO


def test_a_detector_that_has_nothing_to_compare_says_so() -> None:
    with pytest.raises(ModelError, match=r"gives a dict of loss \(\) in training mode.*`distill=False`"):
        TASK.student_output(Silent().train(), torch.zeros(1, 3, 4, 4), [])
