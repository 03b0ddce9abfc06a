"""Faster R-CNN as a network of batches: what it computes is what torchvision's own forward computes."""

import copy

import pytest
import torch
from torch import Tensor, nn

import edgeprune
from edgeprune.data.canvases import scene
from edgeprune.errors import ModelError
from edgeprune.models import TWO_STAGE, build
from edgeprune.models.detectors import Detector, losses_and_output
from edgeprune.models.two_stage import FasterRCNNDetector, unsuppressed
from edgeprune.tasks.detection import Detection

SIDE = 64
NAME = "fasterrcnn_mobilenet_v3_large_320_fpn"
NAMES = [NAME, pytest.param("fasterrcnn_resnet50_fpn", marks=pytest.mark.slow)]


def made(name: str = NAME, classes: int = 3) -> FasterRCNNDetector:
    """A detector whose first stage is sure of what it proposes, so that rounding decides nothing."""
    torch.manual_seed(0)
    model = build(name, num_classes=classes, image_shape=(SIDE, SIDE))
    assert isinstance(model, FasterRCNNDetector)
    with torch.no_grad():
        for part in model.modules():
            if name == NAME and isinstance(part, nn.Conv2d) and part.bias is None:
                part.weight.mul_(1.5)
        for parameter in model.rpn.head.cls_logits.parameters():
            parameter.normal_(0, 2)
        model.roi_heads.box_predictor.bbox_pred.weight.mul_(20)
    return model.eval()


def images(count: int = 2) -> Tensor:
    return torch.stack([scene(number, side=SIDE).image for number in range(count)])


def normalised(batch: Tensor) -> Tensor:
    return (batch - 0.5) / 0.5


@pytest.mark.parametrize("name", NAMES)
def test_losses_of_a_batch_are_torchvisions_of_the_list(name: str) -> None:
    model = made(name, classes=10).train().double()  # a deep network in training multiplies rounding
    for module in model.modules():  # so that both calls see the same statistics
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 0.0
    canvases = [scene(number, side=SIDE) for number in range(3)]
    targets = [{"boxes": canvas.boxes.double(), "labels": canvas.labels} for canvas in canvases]
    targets[1] = {
        "boxes": torch.zeros(0, 4, dtype=torch.float64),
        "labels": torch.zeros(0, dtype=torch.int64),
    }
    for stage in (model.rpn, model.roi_heads):  # nothing is left to chance
        stage.fg_bg_sampler.batch_size_per_image = 10**6
    expected = model(
        [*images(3).double()], [{**target, "labels": target["labels"] + 1} for target in targets]
    )
    losses = model(normalised(images(3).double()), targets)
    assert len(losses) == 4 and losses.keys() == expected.keys()
    for key, value in expected.items():
        assert losses[key].item() == pytest.approx(value.item(), rel=1e-6), key


@pytest.mark.parametrize("name", NAMES)
def test_torchvisions_boxes_are_among_those_of_the_batch(name: str) -> None:
    model = made(name)
    model.roi_heads.score_thresh = 0.0
    with torch.no_grad():
        boxes, scores = model(normalised(images())).values()
        detections = model([*images()])
    proposals = min(len(model.anchors), model.rpn._post_nms_top_n["testing"])
    assert boxes.shape == (2, boxes.shape[1], 4) and scores.shape == (2, boxes.shape[1], 3)
    assert boxes.shape[1] <= 3 * proposals and bool(((scores > 0).sum(-1) <= 1).all())
    for place, detected in enumerate(detections):
        assert len(detected["boxes"]) > 20
        for box, score, label in zip(detected["boxes"], detected["scores"], detected["labels"], strict=True):
            near = (boxes[place] - box).abs().amax(1) < 1e-2
            assert bool(((scores[place, near, label - 1] - score).abs() < 1e-4).any())


def test_suppression_is_that_of_torchvision() -> None:
    from torchvision.ops import nms

    generator = torch.Generator().manual_seed(3)
    corner = torch.rand(2, 60, 2, generator=generator) * 40
    boxes = torch.cat([corner, corner + 5 + torch.rand(2, 60, 2, generator=generator) * 20], -1)
    valid = torch.rand(2, 60, generator=generator) > 0.1
    kept = unsuppressed(boxes, valid, 0.5)
    for image in range(2):
        places = valid[image].nonzero()[:, 0]
        expected = places[nms(boxes[image, places], torch.arange(len(places), 0, -1.0), 0.5)]
        assert kept[image].nonzero()[:, 0].tolist() == sorted(expected.tolist())
        assert 5 < len(expected) < len(places)


def test_it_is_pruned_exactly_and_stays_torchvisions() -> None:
    from torchvision.models.detection.faster_rcnn import FasterRCNN

    model = made()
    example = normalised(images(1))
    graph = edgeprune.trace(model, example)
    # What the first stage proposes, and the last layers, stay; all else, the second stage's layers too, may go.
    heads = {layer for part in graph.protected for layer in part.layers}
    assert heads == {
        "rpn.head.cls_logits", "rpn.head.bbox_pred", "roi_heads.box_predictor.cls_score",
        "roi_heads.box_predictor.bbox_pred",
    }  # fmt: skip
    done = edgeprune.prune(model, example, target="flops=0.5")
    assert isinstance(done.model, FasterRCNN) and isinstance(done.model, Detector)
    masked = edgeprune.mask(model, done.graph, done.plan)
    for key, value in done.model(example).items():
        assert torch.allclose(value, masked(example)[key], rtol=1e-3, atol=1e-3)
    assert len(done.model([images(1)[0]])) == 1  # a list, as ever


@pytest.mark.slow
def test_the_learned_method_trains_it() -> None:
    model = made().train()
    canvases = [scene(number, side=SIDE) for number in range(2)]
    targets = [{"boxes": canvas.boxes, "labels": canvas.labels % 3} for canvas in canvases]
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    pruner = edgeprune.Pruner(
        model, normalised(images()), target="flops=0.7", steps=2, optimizer=optimizer, mask_images=2
    )
    for _ in range(3):
        loss = sum(model(normalised(images()), targets).values())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        pruner.step(loss)
    pruner.finish()
    assert pruner.report.fraction_got <= 0.7


def test_what_it_cannot_do_is_one_line() -> None:
    with pytest.raises(ModelError, match="for 64x64 pixels are"):
        made()(torch.zeros(1, 3, 128, 128))
    with pytest.raises(ModelError, match="places of its own"):
        losses_and_output(copy.deepcopy(made()).train(), torch.zeros(1, 3, SIDE, SIDE), [])
    assert [Detection().distills_from(name) for name in (*TWO_STAGE, "ssd300_vgg16")] == [False] * 4 + [True]
