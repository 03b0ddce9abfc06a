"""Evaluation of two models on the same images: the metrics of both, and what the second loses, with its interval."""

from collections.abc import Iterable, Iterator
from itertools import cycle
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from edgeprune.data import Batch, DataBundle
from edgeprune.records.metrics import PairedDrop
from edgeprune.tasks import Task
from edgeprune.tasks.base import Meter, MetricAverager
from edgeprune.tasks.paired import drop_by_blocks, drop_by_images
from edgeprune.training.evaluation import channels_last

BLOCKS = 20  # of images, for a metric that is no mean over images
BATCH = 256  # images


class PairedScores(NamedTuple):
    """The metrics of two models on the same images.

    Attributes:
        first: the first model's, by name.
        second: the second one's.
        drop: of the metric by which models are compared; None where there are too few images for an interval.
    """

    first: dict[str, float]
    second: dict[str, float]
    drop: PairedDrop | None


def evaluate_pair(
    first: nn.Module,
    second: nn.Module,
    data: DataBundle,
    split: str,
    task: Task,
    device: str = "cpu",
    *,
    half: int | None = None,
) -> PairedScores:
    """Return both models' metrics, computed in eval mode on the same images, and what the second one loses.

    Args:
        first: on ``device``.
        second: likewise.
        data: provides the images.
        split: of them: "val" or "test".
        task: defines the metrics.
        device: torch's.
        half: 0 for every second image from the first, 1 for the others; None for all.
    """
    by_image = isinstance(task.meter(), MetricAverager)
    size = BATCH if by_image else max(1, min(BATCH, data.sizes[split] // BLOCKS))
    counted = _ByImage(task) if by_image else _ByBlock(task)
    modes = first.training, second.training
    first.eval(), second.eval()
    with torch.no_grad():
        for x, target in _halved(data.batches(split, batch_size=size), half):
            images = channels_last(x, device)
            counted.add(first(images), second(images), target)
    first.train(modes[0]), second.train(modes[1])
    return counted.scores()


def _halved(batches: Iterable[Batch], half: int | None) -> Iterator[Batch]:
    """Yield every second image of all batches together, or the batches as they are."""
    passed = 0
    for x, target in batches:
        start = 0 if half is None else (half - passed) % 2
        step = 1 if half is None else 2
        if start < len(x):
            yield x[start::step], target[start::step]
        passed += len(x)


class _Counted:
    """The metrics of two models so far."""

    def __init__(self, task: Task) -> None:
        self.task, self.meters = task, (task.meter(), task.meter())

    def add(self, first: Any, second: Any, target: Any) -> None:
        """Add a batch of both models' outputs and its targets."""
        for meter, output in zip(self.meters, (first, second), strict=True):
            meter.add(output, target)

    def scores(self) -> PairedScores:
        """Return the metrics of both models, and the drop."""
        return PairedScores(self.meters[0].values(), self.meters[1].values(), self.drop())

    def drop(self) -> PairedDrop | None:
        """Return what the second model loses."""
        raise NotImplementedError


class _ByImage(_Counted):
    """Of a metric that is a mean over images: keeps each image's difference."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.differences: list[Tensor] = []

    def add(self, first: Any, second: Any, target: Any) -> None:
        super().add(first, second, target)
        values = [self._values(output, target) for output in (first, second)]
        self.differences.append(values[0] - values[1])

    def _values(self, output: Any, target: Any) -> Tensor:
        values = self.task.measures(output, target)[self.task.metric.name].double()
        return values if self.task.metric.higher_is_better else -values

    def drop(self) -> PairedDrop | None:
        return drop_by_images(torch.cat(self.differences).numpy()) if self.differences else None


class _ByBlock(_Counted):
    """Of any other metric: computes it for each of some blocks of images, too."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.blocks: list[tuple[Meter, Meter]] = [(task.meter(), task.meter()) for _ in range(BLOCKS)]
        self.used, self.images, self._next = 0, 0, cycle(self.blocks)

    def add(self, first: Any, second: Any, target: Any) -> None:
        super().add(first, second, target)
        for meter, output in zip(next(self._next), (first, second), strict=True):
            meter.add(output, target)
        self.used, self.images = min(BLOCKS, self.used + 1), self.images + len(target)

    def drop(self) -> PairedDrop | None:
        drops = [self._drop_of(meters) for meters in self.blocks[: self.used]]
        return drop_by_blocks(self._drop_of(self.meters), drops, self.images) if self.images else None

    def _drop_of(self, meters: Iterable[Meter]) -> float:
        metric = self.task.metric
        before, after = (metric.worth(meter.values()[metric.name]) for meter in meters)
        return before - after
