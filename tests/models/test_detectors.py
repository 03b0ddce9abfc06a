"""Torchvision's detectors as networks of batches: what they compute is what torchvision's own forward computes."""

import pytest
import torch
from torch import Tensor, nn

import edgeprune
from edgeprune.data.canvases import scene
from edgeprune.errors import ModelError
from edgeprune.models import DETECTORS, build
from edgeprune.models.detectors import Detector, detector_of

SIDE = 64
KINDS = [
    "ssdlite320_mobilenet_v3_large",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("retinanet_resnet50_fpn", "fcos_resnet50_fpn")),
]
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)


def made(name: str, classes: int = 10) -> nn.Module:
    torch.manual_seed(0)
    return build(name, num_classes=classes, image_shape=(SIDE, SIDE), mean=MEAN, std=STD)


def normalised(images: Tensor) -> Tensor:
    return (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


@pytest.mark.parametrize("name", KINDS)
def test_losses_of_a_batch_are_torchvisions_of_the_list(name: str) -> None:
    model = made(name)
    assert isinstance(model, Detector)
    for module in model.modules():  # so that both calls see the same statistics
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 0.0
    canvases = [scene(number, side=SIDE) for number in range(3)]
    images = torch.stack([canvas.image for canvas in canvases])
    targets = [{"boxes": canvas.boxes, "labels": canvas.labels} for canvas in canvases]
    targets[1] = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    expected = model([*images], [{**target, "labels": target["labels"] + 1} for target in targets])
    losses = model(normalised(images), targets)
    assert losses.keys() == expected.keys()
    for key, value in expected.items():
        assert losses[key].item() == pytest.approx(value.item(), rel=1e-4), key


@pytest.mark.parametrize("name", KINDS)
def test_decoded_boxes_are_torchvisions(name: str) -> None:
    """Every box that torchvision returns is among the decoded ones, with its score and its label."""
    model = made(name, classes=3).eval()
    model.score_thresh = 0.0
    images = torch.stack([scene(number, side=SIDE).image for number in range(2)])
    with torch.no_grad():
        boxes, scores = model(normalised(images)).values()
        detections = model([*images])
    assert boxes.shape == (2, scores.shape[1], 4) and scores.shape[2] == 3
    for place, detection in enumerate(detections):
        assert len(detection["boxes"]) > 5
        for box, score, label in zip(
            detection["boxes"][:5], detection["scores"], detection["labels"], strict=False
        ):
            near = (boxes[place] - box).abs().amax(1) < 1e-3
            assert bool(((scores[place, near, label - 1] - score).abs() < 1e-5).any())


def test_training_gives_the_head_and_evaluation_what_is_made_of_it() -> None:
    model = made("ssdlite320_mobilenet_v3_large")
    outputs = model.train()(torch.zeros(2, 3, SIDE, SIDE))
    assert set(outputs) == {"bbox_regression", "cls_logits"} and outputs["cls_logits"].shape[2] == 11
    assert set(model.eval()(torch.zeros(1, 3, SIDE, SIDE))) == {"boxes", "scores"}
    assert "anchors" not in model.state_dict()  # torchvision's own weights load, and its weights are these


def test_a_detector_is_pruned_and_stays_torchvisions() -> None:
    from torchvision.models.detection.ssd import SSD

    model = made("ssdlite320_mobilenet_v3_large").eval()
    example = torch.zeros(1, 3, SIDE, SIDE)
    small = edgeprune.prune(model, example, target="flops=0.5").model
    assert isinstance(small, SSD) and isinstance(small, Detector)
    boxes, scores = small(example).values()
    assert boxes.shape[1] == scores.shape[1] == len(detector_of(model).anchors)
    assert len(small([torch.zeros(3, SIDE, SIDE)])) == 1


def test_what_cannot_be_built_is_one_line() -> None:
    for args, text in (
        ({"image_shape": (16, 16)}, "32 pixels"),
        ({"in_channels": 1}, "3 channels"),
        ({"norm_layer": 1}, "cannot be built"),
    ):
        with pytest.raises(ModelError, match=text):
            build("ssdlite320_mobilenet_v3_large", num_classes=3, **args)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"Linear is no detector: choose one of ssdlite320"):
        detector_of(nn.Linear(2, 2))
    model = made("ssdlite320_mobilenet_v3_large").eval()
    with pytest.raises(ModelError, match="for 64x64 pixels are"):
        model(torch.zeros(1, 3, 128, 128))


def test_every_name_is_a_detector_of_torchvision() -> None:
    from torchvision import models

    assert set(DETECTORS) <= set(models.list_models(module=models.detection))
