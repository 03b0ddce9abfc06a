"""Accuracy and BatchNorm's statistics where numbers or images are missing."""

import pytest
import torch
from torch import Tensor, nn

from edgeprune.errors import TrainError
from edgeprune.tasks import Classification
from edgeprune.training.evaluation import evaluate, recalibrate_on

IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model() -> nn.Sequential:
    """A network whose statistics are not those of a fresh one."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    norm = model[1]
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None
    norm.running_mean.fill_(3.0)
    return model.eval()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "there are no images"),
        ([IMAGES[:0]], "there are no images"),
        ([IMAGES, IMAGES * torch.nan], "BatchNorm 1 measured values that are not finite"),
        ([IMAGES * torch.inf], "BatchNorm 1 measured values that are not finite"),
        ([IMAGES[:1, :, :3, :3]], "on a batch of 1: Expected more than 1 value per channel"),
    ],
    ids=["none", "empty", "nan", "inf", "single"],
)
def test_statistics_stay_when_they_cannot_be_measured(
    model: nn.Sequential, images: list[Tensor], message: str
) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(TrainError, match=message) as caught:
        recalibrate_on(model, images)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not model.training and model[1].momentum == 0.1


def test_an_empty_batch_among_others_is_passed_over(model: nn.Sequential) -> None:
    recalibrate_on(model, [IMAGES[:0], IMAGES])
    torch.testing.assert_close(model[1].running_mean, model[0](IMAGES).mean((0, 2, 3)))


def test_an_answer_that_is_no_number_is_wrong() -> None:
    """argmax gives the place of a NaN, which was counted as right where the label stood there."""
    logits = torch.tensor([[torch.nan, 1.0], [torch.nan, torch.nan], [2.0, 1.0], [torch.inf, 0.0]])
    batches = [(logits[:, :, None, None], torch.zeros(4).long())]
    assert evaluate(nn.Flatten(), batches, Classification()) == {"accuracy": 0.5}
