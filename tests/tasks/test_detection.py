"""Detection: what is a detection, what agrees, and mean average precision by hand."""

import numpy as np
import pytest
import torch

from edgeprune.errors import ModelError
from edgeprune.tasks.detection import Detection, detections_of

TASK = Detection()


def output(boxes: list[list[float]], scores: list[list[float]]) -> dict[str, torch.Tensor]:
    return {"boxes": torch.tensor([boxes]), "scores": torch.tensor([scores])}


TWO = output([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]], [[0.9, 0.0], [0.8, 0.7], [0.005, 0.6]])


def test_overlapping_boxes_of_one_class_are_one_detection() -> None:
    (found,) = detections_of(TWO)
    assert found["scores"].tolist() == pytest.approx([0.9, 0.7, 0.6])
    assert found["labels"].tolist() == [0, 1, 1]
    assert found["boxes"].tolist() == [[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]]


def test_scores_that_are_no_numbers_are_no_detections() -> None:
    (found,) = detections_of(output([[0, 0, 1, 1]], [[float("nan"), 0.5]]))
    assert found["labels"].tolist() == [1]


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
    (found,) = detections_of(many)
    assert len(found["scores"]) == 100 and bool((found["scores"][1:] <= found["scores"][:-1]).all())
