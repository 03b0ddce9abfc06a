"""Tasks by name: metrics and their direction, what a model must give, and those that come from outside."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune import tasks
from edgeprune.errors import ModelError, TrainError
from edgeprune.tasks import TASKS, Classification, Metric, Task, metric_of
from edgeprune.training import evaluate, score_of

THREE_CLASSES: Any = SimpleNamespace(classes=("a", "b", "c"), shape=(3, 8, 8))
NAN = float("nan")


def test_classification_is_the_one_of_the_house() -> None:
    assert tasks.names() == ("classification", "segment", "detect")
    task = tasks.get("classification")
    assert task.metric == Metric("accuracy", "%", 100.0) and task.distills
    assert task.model_args(THREE_CLASSES) == {"num_classes": 3, "in_channels": 3}
    with pytest.raises(TrainError, match="unknown task 'classifcation' .did you mean 'classification'"):
        tasks.get("classifcation")


@pytest.mark.parametrize(
    ("output", "got"),
    [(torch.zeros(2, 4), r"\(4,\)"), (torch.zeros(2, 3, 1), r"\(3, 1\)"), ((torch.zeros(2, 3),), "tuple")],
)
def test_a_classifier_gives_a_logit_for_each_class(output: Any, got: str) -> None:
    task = Classification()
    task.check_output(torch.zeros(2, 3), THREE_CLASSES, images=2, model="net")
    with pytest.raises(ModelError, match=f"net gives {got} for an image, the data has 3 classes"):
        task.check_output(output, THREE_CLASSES, images=2, model="net")


def test_agreement_is_of_the_largest_logits_and_never_of_nan() -> None:
    a = torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.0, 1.0], [NAN, 0.0]])
    b = torch.tensor([[0.0, 0.1], [0.0, 3.0], [5.0, 9.0], [NAN, 0.0]])
    assert Classification().agreement(a, b) == 0.5


def test_a_metric_knows_its_unit_and_its_direction() -> None:
    accuracy, error = Metric("accuracy", "%", 100.0), Metric("error", "mm", 10.0, higher_is_better=False)
    assert (accuracy.text(0.1234), error.text(0.5), accuracy.text(None)) == ("12.34 %", "5.00 mm", "-")
    assert (accuracy.worth(0.5), error.worth(0.5)) == (0.5, -0.5)
    assert metric_of({"metric": error.to_dict()}) == error
    assert metric_of({"models": {}}) == Metric("accuracy", "%", 100.0)


class Brightness(Task):
    """The mean of an image's label, as a number."""

    name = "brightness"
    metrics = (Metric("error", higher_is_better=False), Metric("sign", "%", 100.0))

    def loss(self, output: Tensor, target: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        return F.mse_loss(output.mean(1), target.float())

    def measures(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        number = output.mean(1).cpu()
        return {"error": (number - target).abs(), "sign": number.sign() == target.sign()}


@pytest.fixture
def brightness() -> Iterator[Task]:
    yield tasks.register(Brightness)
    TASKS.unregister("brightness")


def test_metrics_of_a_task_are_means_over_items(brightness: Task) -> None:
    model = nn.Flatten()
    batches = [
        (torch.full((3, 2, 1, 1), 2.0), torch.tensor([1, 2, -2])),
        (torch.ones(1, 2, 1, 1), torch.tensor([1])),
    ]
    assert evaluate(model, batches, brightness) == {"error": 1.25, "sign": 0.75}
    assert score_of(model, batches, brightness) == 1.25
    assert evaluate(model, [], brightness) == {"error": 0.0, "sign": 0.0}


def test_what_a_task_checks_and_compares_by_default(brightness: Task) -> None:
    brightness.check_output(torch.zeros(2, 9), THREE_CLASSES, images=2, model="net")
    with pytest.raises(
        ModelError, match="net gives list for 2 images: it must return a tensor with a row for each"
    ):
        brightness.check_output([1, 2], THREE_CLASSES, images=2, model="net")
    a = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert brightness.agreement(a, a * 1.0001) == 1.0 and brightness.agreement(a, a + torch.eye(2)[:1]) == 0.0
    assert brightness.agreement(a, torch.tensor([[1.0, 2.0], [3.0, 4.5]])) == 0.5
    assert float(brightness.total_loss(a, torch.tensor([1, 3]))) == pytest.approx(0.25)


@pytest.mark.parametrize("wrong", [Task(), Task, "classification", Metric("x")])
def test_what_is_not_a_task(wrong: object) -> None:
    with pytest.raises(TrainError, match="derive it from|has no metric"):
        tasks.register(wrong)  # type: ignore[arg-type]


def test_a_task_that_teaches_nothing_is_not_distilled_from(brightness: Task) -> None:
    from edgeprune.train_prune.checking import check_choices
    from edgeprune.train_prune.options import TrainPruneOptions

    with pytest.raises(TrainError, match="`task=brightness` has nothing to distil: leave `distill` out"):
        check_choices(TrainPruneOptions(task="brightness", distill=True))
    check_choices(TrainPruneOptions(task="brightness"))
