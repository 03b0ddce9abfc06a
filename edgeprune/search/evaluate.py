"""What a policy is worth: accuracy after reconstruction and recalibration, without training."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

import torch
from torch import Tensor

from edgeprune import training
from edgeprune.data import Batch, DataBundle
from edgeprune.errors import SearchError
from edgeprune.graph.classes import Ints
from edgeprune.graph.plan import Plan
from edgeprune.reconstruct import SEQUENTIAL_IMAGES, Grams, Sequential
from edgeprune.rewrite.compaction import compact
from edgeprune.rewrite.duplicate import duplicate
from edgeprune.search.variables import Variables
from edgeprune.tasks import Classification, Task

FITS = ("kernel", "sequential")
POSITIONS = 10  # of each image that reconstruction looks at; the source's number
BATCH = 250
SEED = 987_654_321  # of the images that are augmented for BatchNorm's statistics


@dataclass
class Evaluator:
    """Judges plans of one network. Activations are collected once, images are read once.

    Args:
        variables: with the graph of the unpruned model, on the CPU; its weights stay as they are.
        data: where images come from: "val" to judge on, "train" for all else.
        images: to judge on, at most.
        calibration: images for reconstruction (plain ones); half as many, as training has them, give
            BatchNorm its statistics, which then are within 0.2 % of accuracy of what more would give.
        final: images for both in the end, when test images are looked at.
        reconstruct: one of `FITS`.
        device, precision: of all that runs.
        task: says how good an output is.
    """

    variables: Variables
    data: DataBundle
    images: int = 2000
    calibration: int = 1000
    final: int = SEQUENTIAL_IMAGES
    reconstruct: str = "kernel"
    device: str = "cpu"
    precision: str = "fp32"
    task: Task = field(default_factory=Classification)
    _judged: list[Batch] = field(init=False, repr=False)
    _seen: list[Tensor] = field(init=False, repr=False)
    _fits: Grams | Sequential = field(init=False, repr=False)

    def __post_init__(self) -> None:
        data = self.data
        if not data.sizes["val"]:
            raise SearchError("there are no images to judge policies on: raise --val-fraction above 0")
        self._judged = [(_laid(x), y) for x, y in data.batches("val", batch_size=BATCH, limit=self.images)]
        self._seen = list(self._augmented(self.calibration))
        fits = Grams if self.reconstruct == "kernel" else Sequential
        self._fits = fits(self.variables.graph, self._plain(self.calibration), positions=POSITIONS)

    def _plain(self, images: int) -> Iterable[Batch]:
        return self.data.batches("train", batch_size=min(BATCH, images), limit=images)

    def _augmented(self, calibration: int) -> Iterator[Tensor]:
        images = max(1, calibration // 2)
        size = min(BATCH, images)
        given = self.data.train_batches(0, batch_size=size, seed=SEED)
        return (_laid(x) for x, _ in islice(given, images // size))

    @property
    def judged_on(self) -> int:
        """Held-out images."""
        return sum(len(y) for _, y in self._judged)

    def reward(self, plan: Plan) -> tuple[float, float]:
        """Accuracy on the held-out images, and the seconds that took."""
        began = time.perf_counter()
        return self.judged(self.pruned(plan)), time.perf_counter() - began

    def pruned(self, plan: Plan) -> torch.nn.Module:
        """The dense model of a plan, reconstructed, and recalibrated (after fits in sequence: if better)."""
        return self._made(plan, self._fits, self._seen)

    def finally_pruned(self, widths: Ints) -> torch.nn.Module:
        """The dense model of a policy, fitted in sequence: for the end, never on the way."""
        return self._made(self.variables.plan(widths), self._finally, self._augmented(self.final))

    def _made(self, plan: Plan, fits: Grams | Sequential, seen: Iterable[Tensor]) -> torch.nn.Module:
        with fits.fitted(plan.keep):
            model = self._placed(compact(self.variables.graph, plan).model)

        def recalibrate(one: torch.nn.Module) -> None:
            training.recalibrate_on(one, seen, self.device, self.precision)

        if isinstance(fits, Sequential):
            return training.recalibrated_if_better(model, recalibrate, self.judged)
        recalibrate(model)
        return model

    @property
    def unpruned(self) -> torch.nn.Module:
        """The model as it came, its statistics too."""
        return self._placed(duplicate(self.variables.graph.model))

    def judged(self, model: torch.nn.Module) -> float:
        """What a model is worth by the task's metric on the held-out images: the higher the better."""
        score = training.score_of(model, self._judged, self.task, self.device, self.precision)
        return self.task.metric.worth(score)

    def tested(self, model: torch.nn.Module) -> float:
        """The task's metric on the test images: for the end, never on the way."""
        return training.score_of(model, self.data.batches("test"), self.task, self.device, self.precision)

    def _placed(self, model: torch.nn.Module) -> torch.nn.Module:
        return model.to(self.device).to(memory_format=torch.channels_last)

    @cached_property
    def _finally(self) -> Sequential:
        """The slower and better fits: for the few policies that are looked at in the end."""
        return Sequential(self.variables.graph, self._plain(self.final), positions=POSITIONS)


def _laid(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
