"""Two models evaluated on the same images."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgeprune import tasks, training
from edgeprune.data import DataBundle, load_data
from edgeprune.tasks.paired import drop_by_counts


class Answers(nn.Module):
    """Gives the class that a table says, by the mean of the image."""

    def __init__(self, wrong_below: float, right: dict[float, int]) -> None:
        super().__init__()
        self.wrong_below, self.right = wrong_below, right

    def forward(self, x: Tensor) -> Tensor:
        keys = [float(image.double().sum()) for image in x]
        labels = torch.tensor([self.right[key] for key in keys])
        wrong = torch.tensor([key < self.wrong_below for key in keys])
        return nn.functional.one_hot(torch.where(wrong, (labels + 1) % 10, labels), 10).float()


@pytest.fixture(scope="module")
def digits() -> DataBundle:
    return load_data("digits")


@pytest.fixture
def models(digits: DataBundle) -> tuple[Answers, Answers]:
    """One that is always right, and one that is wrong on dark images."""
    right: dict[float, int] = {}
    for x, y in digits.batches("test"):
        right |= {float(image.double().sum()): int(label) for image, label in zip(x, y, strict=True)}
    darkest = sorted(right)[30]
    return Answers(-1e9, right), Answers(darkest, right)


def test_scores_and_drop_are_those_of_counting(digits: DataBundle, models: tuple[Answers, Answers]) -> None:
    task = tasks.get("classification")
    pair = training.evaluate_pair(*models, digits, "test", task)
    lost = 30
    assert len(models[0].right) == digits.sizes["test"]  # no two images alike
    assert pair.first == {"accuracy": 1.0} and pair.second == training.evaluate(
        models[1], digits.batches("test"), task
    )
    assert pair.drop == drop_by_counts(lost, 0, digits.sizes["test"])


def test_halves_are_every_second_image(digits: DataBundle, models: tuple[Answers, Answers]) -> None:
    task = tasks.get("classification")
    halves = [training.evaluate_pair(*models, digits, "test", task, half=half) for half in (0, 1)]
    images, drops = digits.sizes["test"], [pair.drop for pair in halves]
    assert [drop.images for drop in drops if drop] == [(images + 1) // 2, images // 2]
    entire = training.evaluate_pair(*models, digits, "test", task).drop
    assert entire and sum(drop.value * drop.images for drop in drops if drop) == pytest.approx(
        entire.value * images
    )


def test_halves_go_on_across_batches_of_odd_sizes() -> None:
    from edgeprune.training.pairs import _halved

    def batches() -> Any:
        numbers = torch.arange(11)
        return ((part, part.tolist()) for part in numbers.split(3))

    for half, expected in ((0, [0, 2, 4, 6, 8, 10]), (1, [1, 3, 5, 7, 9]), (None, [*range(11)])):
        assert [number for _, target in _halved(batches(), half) for number in target] == expected


def test_a_metric_that_is_no_mean_has_blocks() -> None:
    data = load_data("digits-segment", image_size=32, kind="masks")
    task = tasks.get("segmentation") if "segmentation" in tasks.names() else tasks.get("segment")
    classes = len(data.classes)

    class Painted(nn.Module):
        def __init__(self, error: float) -> None:
            super().__init__()
            self.error = error

        def forward(self, x: Tensor) -> Tensor:
            torch.manual_seed(0)
            background = torch.zeros(len(x), classes, *x.shape[2:])
            background[:, 0] = 1 + self.error * torch.randn(background[:, 0].shape)
            return background

    pair = training.evaluate_pair(Painted(0.0), Painted(0.9), data, "val", task)
    name = task.metric.name
    assert pair.drop is not None and pair.drop.value == pytest.approx(pair.first[name] - pair.second[name])
    assert pair.drop.low < pair.drop.value < pair.drop.high
